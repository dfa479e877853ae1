//! Everything that speaks to other nodes: signatures, keys, fetching, and what may be believed.
