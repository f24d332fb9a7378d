//! Bodies as other programs write them, and as nobody does.

mod prompb;
mod remote_write;
