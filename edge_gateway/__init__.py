"""The edge gateway: accepts DICOM at a site, keeps it on disk, and forwards it."""
