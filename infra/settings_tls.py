"""The settings of TLS on a gateway's DICOM port.

Invariant: client certificates are asked for unless a person says otherwise.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import model_validator

from infra.settings_section import Section


class GatewayTls(Section):
    """TLS of the DICOM port (PS3.15 B.12, BCP 195): 1.2 and 1.3, client certificates by default."""

    certificate_file: Path
    key_file: Path
    client_ca_file: Path | None = None
    require_client_certificate: bool = True

    @model_validator(mode="after")
    def _clients_need_a_ca(self) -> GatewayTls:
        if self.require_client_certificate and self.client_ca_file is None:
            raise ValueError(
                "require_client_certificate needs client_ca_file, or set it to false explicitly"
            )
        return self
