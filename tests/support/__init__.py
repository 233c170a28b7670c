"""What the end-to-end and fault tests stand on: processes, peers, waiting. No test lives here."""
