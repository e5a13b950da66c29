"""AWS, spoken to through boto3. Its dictionaries and error codes end in here."""
