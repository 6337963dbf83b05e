"""CLIP, pictures and texts in one space: what several domains put adapters on. Imports no torch.

`bases` loads towers, `names` maps OpenAI's names of weights to transformers' and back, `pictures` and `words` turn what
users hold into what the towers take, `exporting` writes a tower for programs without us.
"""
