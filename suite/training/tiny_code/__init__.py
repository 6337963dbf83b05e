"""The small code model that both code domains share: `python -m suite.training.tiny_code` rebuilds it.

It stands here because neither domain may import the other: above `suite.code`, which makes what is learned, and below
both of them.
"""
