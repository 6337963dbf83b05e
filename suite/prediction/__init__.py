"""From inputs to a folder of results: what stands around every domain's predictor. Imports no torch.

`inputs` says what a user handed over, `loop` turns one bad input into one result with its error, `folder` writes the
results, `journal` remembers what is finished, and `loading` finds the adapter and its base.
"""
