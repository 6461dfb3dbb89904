//! Build tasks and repository checks
