"""The goals of this project as rows with verdicts, measured beside real peers in the same run."""
