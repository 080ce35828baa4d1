"""Makes ``builtin://tiny`` from the Python standard library's own documentation.

``python -m plimsoll_runtime.builtin.train --out DIR --steps N --seed S``

Needs ``transformers`` (a development dependency). Never imported to serve.
"""
