//! Redis behind one small type: a cache that is down is a cache that misses
