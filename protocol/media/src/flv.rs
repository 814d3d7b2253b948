//! FLV tags to units and back.
