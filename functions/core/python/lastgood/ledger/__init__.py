"""The record of every point, run and source: on DynamoDB, and its twin in memory."""
