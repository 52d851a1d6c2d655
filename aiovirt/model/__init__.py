"""What things are: frozen values and state tables. No I/O, no clock."""
