"""Documents: a structured report, key objects, an encapsulated PDF (PS3.3 A.35, A.45).

Invariant: each is valid for its SOP class and names only its own study.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    CTImageStorage,
    EncapsulatedPDFStorage,
    KeyObjectSelectionDocumentStorage,
)

from load.studies.identity import Place
from load.studies.kind import Draft, Kind, Order
from load.studies.modules import (
    STUDY_DATE,
    code,
    common,
    fill,
    item,
    items,
    marked,
)

REFERENCED_SERIES_UID = "2.25.148350967600000000000000000000000001"
_SLICE_UID = "2.25.1483509676000000000000000000000001"
_FINDING = "No finding: this study was invented by a generator and shows nobody. "


def draft_sr(order: Order) -> Draft:
    """A radiologist's report as Basic Text SR with three sections."""
    data_set = common(BasicTextSRStorage, "SR", "Imaging report")
    _document(data_set, code("18748-4", "LN", "Diagnostic imaging report"))
    fill(
        data_set,
        PerformedProcedureCodeSequence=items(),
        CompletionFlag="COMPLETE",
        VerificationFlag="UNVERIFIED",
        ContentSequence=items(
            _language(),
            _section(("121060", "History"), ("121060", "History"), "Synthetic thorax."),
            _section(("121070", "Findings"), ("121071", "Finding"), _FINDING * 12),
            _section(("121076", "Conclusions"), ("121077", "Conclusion"), _FINDING),
        ),
    )
    return Draft(data_set)


def draft_ko(order: Order) -> Draft:
    """Three slices flagged for the referring physician (PS3.16 TID 2010)."""
    data_set = common(KeyObjectSelectionDocumentStorage, "KO", "Key objects")
    _document(data_set, code("113000", "DCM", "Of Interest"))
    chosen = [ct_reference(number) for number in range(3)]
    fill(
        data_set,
        ContentTemplateSequence=items(item(MappingResource="DCMR", TemplateIdentifier="2010")),
        ContentSequence=items(
            _language(),
            *(
                item(
                    RelationshipType="CONTAINS",
                    ValueType="IMAGE",
                    ReferencedSOPSequence=items(ct_reference(number)),
                )
                for number in range(3)
            ),
        ),
        CurrentRequestedProcedureEvidenceSequence=items(
            item(
                StudyInstanceUID=marked(Place.STUDY_INSTANCE_UID),
                ReferencedSeriesSequence=items(
                    item(
                        SeriesInstanceUID=REFERENCED_SERIES_UID,
                        ReferencedSOPSequence=items(*chosen),
                    )
                ),
            )
        ),
    )
    return Draft(data_set)


def draft_pdf(order: Order) -> Draft:
    """A one-page PDF that a viewer opens."""
    data_set = common(EncapsulatedPDFStorage, "DOC", "Scanned letter")
    content = _pdf("Hilum: a synthetic letter about nobody")
    fill(
        data_set,
        ConversionType="WSD",
        ContentDate=STUDY_DATE,
        ContentTime="101300.000000",
        AcquisitionDateTime="20260102101300.000000",
        BurnedInAnnotation="NO",
        DocumentTitle="Synthetic letter",
        ConceptNameCodeSequence=items(code("18748-4", "LN", "Diagnostic imaging report")),
        MIMETypeOfEncapsulatedDocument="application/pdf",
        EncapsulatedDocumentLength=len(content),
        EncapsulatedDocument=content + bytes(len(content) % 2),
    )
    return Draft(data_set)


def _document(data_set: Dataset, title: Dataset) -> None:
    fill(
        data_set,
        ContentDate=STUDY_DATE,
        ContentTime="101300.000000",
        ReferencedPerformedProcedureStepSequence=items(),
        ValueType="CONTAINER",
        ContinuityOfContent="SEPARATE",
        ConceptNameCodeSequence=items(title),
    )


def _language() -> Dataset:
    country = item(
        RelationshipType="HAS CONCEPT MOD",
        ValueType="CODE",
        ConceptNameCodeSequence=items(code("121046", "DCM", "Country of Language")),
        ConceptCodeSequence=items(code("GB", "ISO3166_1", "United Kingdom")),
    )
    return item(
        RelationshipType="HAS CONCEPT MOD",
        ValueType="CODE",
        ConceptNameCodeSequence=items(
            code("121049", "DCM", "Language of Content Item and Descendants")
        ),
        ConceptCodeSequence=items(code("en", "RFC5646", "English")),
        ContentSequence=items(country),
    )


def _section(heading: tuple[str, str], concept: tuple[str, str], text: str) -> Dataset:
    paragraph = item(
        RelationshipType="CONTAINS",
        ValueType="TEXT",
        ConceptNameCodeSequence=items(code(concept[0], "DCM", concept[1])),
        TextValue=text,
    )
    return item(
        RelationshipType="CONTAINS",
        ValueType="CONTAINER",
        ContinuityOfContent="SEPARATE",
        ConceptNameCodeSequence=items(code(heading[0], "DCM", heading[1])),
        ContentSequence=items(paragraph),
    )


def ct_reference(number: int) -> Dataset:
    """A reference to one of the study's CT slices, which need not have been sent."""
    return item(
        ReferencedSOPClassUID=CTImageStorage,
        ReferencedSOPInstanceUID=f"{_SLICE_UID}{number:03d}",
    )


def _pdf(text: str) -> bytes:
    """A PDF 1.4 of one page with one line, its cross-reference table counted out."""
    drawing = f"BT /F1 18 Tf 72 720 Td ({text}) Tj ET"
    objects = (
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        " /Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(drawing)} >>\nstream\n{drawing}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    body, offsets = "%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    return (
        f"{body}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
        f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    ).encode("ascii")


KINDS = (
    Kind("sr", "SR", "Basic Text report", BasicTextSRStorage, (1, 2), draft_sr),
    Kind(
        "ko",
        "KO",
        "Key object selection of three slices",
        KeyObjectSelectionDocumentStorage,
        (1, 1),
        draft_ko,
    ),
    Kind("pdf", "DOC", "Encapsulated PDF of one page", EncapsulatedPDFStorage, (1, 2), draft_pdf),
)
