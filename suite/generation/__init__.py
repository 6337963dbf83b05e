"""Language models that answer: token ids in, token ids out. Imports no torch.

`base` loads a model, `memory` says what it needs, `chat` frames questions and encodes samples, `samples` holds them for
training, `engine` answers `requests` (with `prefill`, `kvcache` and `prefix` below it), `vocabulary` turns token ids
into bytes and `constraints` says which answers are well-formed.
"""
