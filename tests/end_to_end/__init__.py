"""The whole pipeline through its command line, on real engines and with real peers."""
