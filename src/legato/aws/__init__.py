"""Amazon's services without its SDK: what the store, the queues and the functions share.

    signing.py    Signature Version 4, and who asks
    address.py    region, endpoint and parameters of an address; credentials of the environment
    service.py    one request of the JSON protocols, and what was refused

On the way of a cloud function's cold start.
"""
