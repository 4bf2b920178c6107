"""The model test: whole processes in virtual time, on one store behind a network that misbehaves, and a judge."""
