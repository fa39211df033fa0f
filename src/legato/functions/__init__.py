"""`legato functions`: a folder of bots as cloud functions on a machine of one's own.

It speaks the AWS Lambda Runtime API to unmodified runtime clients. A process serves one request at a time,
stands still (SIGSTOP) between two, and is stopped after a while of silence. It is made for one's own bots:
processes of one machine are no sandbox for strangers' code.
"""
