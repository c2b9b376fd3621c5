"""What a workflow's body may not do, found in its text; nothing of it is executed.

A body is played again after every crash and every long wait, so it has to call the
same operations each time. `operon lint PATH…` says where it might not:

```python
for finding in lint_path("shop"):
    print(finding)  # shop/checkout.py:12:15: OPN001 …
```
"""

from operon.lint.findings import Code
from operon.lint.findings import Finding
from operon.lint.linter import lint_path
from operon.lint.linter import lint_source
from operon.lint.linter import lint_workflow

__all__ = ["Code", "Finding", "lint_path", "lint_source", "lint_workflow"]
