//! Messages, formats and limits
