//! Codec configuration and coded pictures, as far as a server or an analyzer has to understand them.
