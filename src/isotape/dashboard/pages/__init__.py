"""The pages, one module a noun. Each adds its routes to a router that stands behind the gate, except join and login."""
