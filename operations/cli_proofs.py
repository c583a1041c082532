"""`hilum proofs`, and what `verify --proofs` and `where --proof` answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from operations.answers import out, write_json
from operations.command_line import AsJson, SettingsFile, State, answering, engines_of, tell
from operations.context import DEFAULT_STATE_DIRECTORY, Context

proofs_app = typer.Typer(no_args_is_help=True, help="Custody proofs: the key that signs them.")
key_app = typer.Typer(no_args_is_help=True, help="The Ed25519 key that signs custody proofs.")
proofs_app.add_typer(key_app, name="key")


@key_app.command("init")
@answering
def key_init(
    file: Annotated[Path, typer.Argument(help="Where the private key goes; FILE.pub beside it.")],
    as_json: AsJson = False,
) -> bool:
    """Make a key; never over one that exists. Keep FILE.pub where the archive cannot change it."""
    # Here: the other commands start without what only these need.
    from operations.proof_keys import make_key

    made = make_key(file)
    if as_json:
        write_json(made)
    else:
        out.print(f"private key {made.key_file}\npublic key {made.public_file}", soft_wrap=True)
        out.print(f"key id {made.key_id}", soft_wrap=True)
        out.print(f'settings: [proofs] key_file = "{made.key_file}"', soft_wrap=True, markup=False)
    return True


@key_app.command("show")
@answering
def key_show(
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """The public key of the settings' key, as a PEM file for `verify --public-key`."""
    from operations.proof_keys import public_pem, settings_key

    key = settings_key(Context(state, 0, settings, as_json).settings())
    pem = public_pem(key)
    if as_json:
        write_json({"key_id": key.key_id, "public_key": pem})
    else:
        typer.echo(pem, nl=False)
    return True


def answer_verify(context: Context, wait_s: float, public_keys: list[Path] | None) -> bool:
    """`hilum verify --proofs`; True where every proof holds."""
    from infra.proof_key import verifying_key
    from operations.proof_keys import settings_key
    from operations.proofs import ProofOptions, verify_proofs
    from operations.render_proofs import show_proof_verdict

    given = tuple(verifying_key(path) for path in public_keys or ())
    keys = given or (settings_key(context.settings()),)
    with engines_of(context) as engines:
        verdict = verify_proofs(engines, ProofOptions(keys, wait_s), tell)
    if context.as_json:
        write_json(verdict)
    else:
        show_proof_verdict(verdict)
    return verdict.ok


def answer_where(context: Context, key: str, public_key: Path | None) -> bool:
    """`hilum where KEY --proof`; True where every leaf is signed and holds."""
    from infra.proof_key import verifying_key
    from operations.proof_keys import settings_key
    from operations.proof_lookup import prove
    from operations.render_proofs import show_proofs

    signer = verifying_key(public_key) if public_key else settings_key(context.settings())
    with engines_of(context) as engines:
        document = prove(engines, key, signer)
    if context.as_json:
        write_json(document)
    else:
        show_proofs(document)
    return document.ok
