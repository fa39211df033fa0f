"""`legato deploy aws`: a bot on AWS Lambda, by one CloudFormation stack.

    place.py      names of everything that belongs to one bot
    cloud.py      boto3: who asks, where, and its errors in our words
    template.py   the stack;  fronts.py  how requests come in;  role.py  what the function may do
    stack.py      change sets, and what became of them
    asked.py      what a bot was deployed with, for later deployments
    code.py       the bucket that zips come from
    secrets.py    Parameter Store
    versions.py   what was published, and which one is live
    talks.py      open conversations: can other code go on with them?
    webhook.py    setWebhook, getWebhookInfo, and requests through the real way
    deploying.py, ejecting.py, steering.py   the commands

All state is in the account: nothing is kept on this machine. boto3 is imported by cloud.py alone and never
runs in a function.
"""
