"""What registries share, whatever they are made of: values to bytes and back, and ids of records.

Must not know: any technology. A registry's adapter imports from here; nothing here imports an adapter.
"""
