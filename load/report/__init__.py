"""What a load command leaves behind: one report, as JSON and as a page with plots."""
