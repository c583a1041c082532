"""Custody proofs for people's eyes.

Invariant: what does not hold is always shown, with its position.
"""

from __future__ import annotations

from operations.answers import out, table
from operations.proof_lookup import ProofDocument
from operations.proofs import ProofVerdict


def show_proof_verdict(verdict: ProofVerdict) -> None:
    """One line a site and store, then what does not hold."""
    colour, word = ("green", "hold") if verdict.ok else ("red", "do not hold")
    out.print(f"[{colour}]the custody proofs {word}[/]")
    table(
        "Chains",
        ("site", "at", "leaves", "signed", "roots", "first bad position"),
        (
            (site.site, store, checked.leaves, checked.signed, checked.roots, site.position)
            for site in verdict.sites
            for store, checked in site.stores.items()
        ),
    )
    for key_id in verdict.key_ids:
        out.print(f"believed key {key_id}", soft_wrap=True)
    for reason in verdict.reasons:
        out.print(f"[red]not ok[/] {reason}", soft_wrap=True)


def show_proofs(document: ProofDocument) -> None:
    """One line a leaf; the whole proof is the JSON document."""
    table(
        f"Proofs of {document.key}",
        ("delivery", "what", "site", "position", "signed", "holds"),
        (
            (
                proof.delivery_id,
                proof.kind,
                proof.site,
                proof.position,
                "yes" if proof.root else "not yet",
                ("yes" if proof.holds else "no") if proof.root else None,
            )
            for proof in document.proofs
        ),
    )
    for name in document.missing:
        out.print(f"[red]no leaf[/] {name}", soft_wrap=True)
    out.print(f"signed by key {document.key_id}", soft_wrap=True)
    out.print("With --json: everything that is needed to check this elsewhere.")
