"""A bot as a cloud function.

    core.py         one App in one process of a function service: requests, events and touches in, answers out
    invocation.py   the time that an invocation has, and what must not outlast it
    aws.py          AWS Lambda: which kind of event it is, and the answer in the form that it asks for

Each of these is imported when a handler is made: a cold start pays for nothing that it does not use.
"""
