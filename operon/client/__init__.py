"""For callers of a web edge: requests that are sent until they are answered, once.

```python
client = httpx.Client(transport=OnceTransport(), base_url="https://shop.example.org")
client.post("/api/orders", json={"sku": "book"})
```
"""

from operon.client.transport import OnceTransport

__all__ = ["OnceTransport"]
