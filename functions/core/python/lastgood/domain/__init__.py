"""The rules, pure: values in, values out. No AWS, clock, environment or logging in here."""
