//! Words for refusals.

/// Several values as one line.
pub fn one_of<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    match values.as_slice() {
        [] => "nothing: the policy lists none".into(),
        [only] => only.clone(),
        several => format!("one of {}", several.join(", ")),
    }
}

/// A message of a library on one line of bounded length: it may quote what came from outside.
pub fn line(message: &str) -> String {
    message.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
