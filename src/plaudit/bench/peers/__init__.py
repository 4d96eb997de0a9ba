"""The other libraries' sides: plain scripts that run in environments of their own and import nothing of Plaudit."""
