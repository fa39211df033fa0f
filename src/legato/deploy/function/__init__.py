"""A bot as a cloud function.

    core.py         one App in one process of a function service: requests and touches in, answers out
    start.py        its first invocation: settings, store, platforms, what others have left
    invocation.py   the time that an invocation has, and what must not outlast it
    closing.py      what hangs is thrown away
    aws.py          AWS Lambda: which kind of event it is, and the answer in the form that it asks for
    outside.py      what happened outside of any chat, and messages of SQS

Each of these, and the files of other hosts, is imported when a handler is made or needs it: a cold start pays for
nothing that it does not use.
"""
