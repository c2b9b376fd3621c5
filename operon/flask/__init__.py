"""The web edge: workflows and transactions served by a Flask application.

```python
api = OperonBlueprint("shop", operon, issuers=[JWTIssuer(...)])

@api.post("/orders", scopes={"orders:write"})
class Checkout(Workflow): ...

app.register_blueprint(api, url_prefix="/api")
```
"""

from operon.flask.blueprint import OperonBlueprint
from operon.flask.extension import Operon
from operon.flask.problem import Refused
from operon.flask.tokens import JWTIssuer
from operon.flask.tokens import Principal

__all__ = ["JWTIssuer", "Operon", "OperonBlueprint", "Principal", "Refused"]
