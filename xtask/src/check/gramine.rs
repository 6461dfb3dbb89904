//! Manifests of Gramine, which decide what an enclave keeps from its host.
//!
//! They are templates; placeholders are replaced by a digit, which is a value inside and outside of strings. What a
//! placeholder stands for is not looked at, so settings that matter may not be one.

use toml::{Table, Value};

use super::Finding;
use super::tree::Tree;

/// The manifest that has to be there, or the check guards nothing.
const WARDEN: &str = "deploy/gramine/blindsmith-warden.manifest.template";
/// How manifests are called.
const ENDING: &str = ".manifest.template";
/// What options begin with that Gramine itself calls insecure.
const INSECURE: &str = "insecure__";
/// The key that only this enclave on this machine has.
const OWN_KEY: &str = "_sgx_mrenclave";

/// All manifests.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    if tree.text(WARDEN).is_none() {
        findings.push(Finding::new(WARDEN, "no such file: the check of manifests guards nothing"));
    }
    for (path, text) in tree.files.iter().filter(|(path, _)| path.ends_with(ENDING)) {
        findings.extend(defects(text).into_iter().map(|defect| Finding::new(path, defect)));
    }
    findings
}

/// What is wrong with a manifest.
fn defects(text: &str) -> Vec<String> {
    let parsed = filled(text).and_then(|text| text.parse::<Table>().map_err(|e| e.to_string()));
    let manifest = match parsed {
        Ok(manifest) => manifest,
        Err(e) => return vec![format!("not a manifest: {e}")],
    };
    let mut defects = Vec::new();
    insecure("", &manifest, &mut defects);
    for (name, expected, why) in [
        ("sgx.debug", "false", "the host can read the memory of a debug enclave"),
        ("sgx.remote_attestation", "\"dcap\"", "there is no evidence without"),
        ("sgx.file_check_policy", "\"strict\"", "the host could exchange files"),
        ("sys.disallow_subprocesses", "true", "the warden starts no programs"),
        ("loader.log_level", "\"error\"", "other levels tell the host what happens inside"),
    ] {
        if at(&manifest, name).and_then(written).as_deref() != Some(expected) {
            defects.push(format!("write `{name} = {expected}`: {why}"));
        }
    }
    for (name, why) in [
        ("sgx.allowed_files", "the host could exchange them; use trusted or encrypted files"),
        ("sgx.allowed_ioctls", "they reach the host"),
        ("sgx.enable_stats", "it needs a debug enclave"),
        ("sgx.profile", "it needs a debug enclave"),
        ("loader.argv_src_file", "write the arguments here"),
        ("loader.env_src_file", "write the environment here"),
        ("sys.enable_sigterm_injection", "the host would interrupt the warden when it likes"),
        ("sys.enable_extra_runtime_domain_names_conf", "the host's settings would reach the warden"),
    ] {
        if at(&manifest, name).is_some() {
            defects.push(format!("`{name}` has no place here: {why}"));
        }
    }
    defects.extend(files(&manifest));
    defects.extend(environment(&manifest));
    defects.extend(state(&manifest));
    defects
}

/// A template with a digit for each placeholder.
fn filled(text: &str) -> Result<String, String> {
    if text.contains("{%") || text.contains("{#") {
        return Err("statements and comments of the template hide what it says: write it out".into());
    }
    let mut pieces = text.split("{{");
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (_, rest) = piece.split_once("}}").ok_or("a placeholder without an end")?;
        filled.push('0');
        filled.push_str(rest);
    }
    Ok(filled)
}

/// The value of a dotted name.
fn at<'a>(manifest: &'a Table, name: &str) -> Option<&'a Value> {
    let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    let value = manifest.get(first)?;
    match rest {
        None => Some(value),
        Some(rest) => at(value.as_table()?, rest),
    }
}

/// A truth value or text as it is written in a manifest.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::Boolean(value) => Some(value.to_string()),
        Value::String(text) => Some(format!("{text:?}")),
        _ => None,
    }
}

/// Options that Gramine calls insecure, however deep.
fn insecure(above: &str, table: &Table, defects: &mut Vec<String>) {
    for (key, value) in table {
        let name = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        if key.starts_with(INSECURE) {
            defects.push(format!("`{name}` has no place here: Gramine itself calls it insecure"));
        }
        if let Value::Table(inner) = value {
            insecure(&name, inner, defects);
        }
    }
}

/// Trusted files, and kinds of mounts.
fn files(manifest: &Table) -> Vec<String> {
    let mut defects = Vec::new();
    let trusted = at(manifest, "sgx.trusted_files").and_then(Value::as_array);
    let hashed = |file: &Value| {
        let table = file.as_table();
        table.is_some_and(|table| table.contains_key("uri") && table.contains_key("sha256"))
    };
    match trusted {
        Some(files) if files.iter().any(hashed) => {
            if !files.iter().all(|file| file.is_str() || hashed(file)) {
                defects.push("`sgx.trusted_files` are names, or names with their hash".into());
            }
        }
        _ => defects.push("`sgx.trusted_files` must have the warden with its `sha256`".into()),
    }
    for mount in mounts(manifest) {
        let kind = mount.get("type").map_or(Some("chroot"), Value::as_str);
        if !matches!(kind, Some("chroot" | "encrypted" | "tmpfs")) {
            defects.push("a mount is of type chroot, encrypted or tmpfs: others share with the host".into());
        }
        if kind == Some("encrypted") && mount.get("key_name").and_then(Value::as_str) != Some(OWN_KEY) {
            defects
                .push(format!("an encrypted mount has `key_name = \"{OWN_KEY}\"`: others can read it else"));
        }
    }
    defects
}

fn mounts(manifest: &Table) -> impl Iterator<Item = &Table> {
    let mounts = at(manifest, "fs.mounts").and_then(Value::as_array);
    mounts.into_iter().flatten().filter_map(Value::as_table)
}

/// Variables have values of their own.
fn environment(manifest: &Table) -> Vec<String> {
    let variables = at(manifest, "loader.env").and_then(Value::as_table);
    let from_host = variables.into_iter().flatten().filter(|(_, value)| {
        let fixed = value.as_table().is_some_and(|table| table.keys().eq(["value"]));
        !value.is_str() && !fixed
    });
    from_host
        .map(|(name, _)| format!("`loader.env.{name}` must be a text: the host would choose it"))
        .collect()
}

/// Fixed arguments, and a state that is encrypted.
fn state(manifest: &Table) -> Vec<String> {
    let arguments = at(manifest, "loader.argv").and_then(Value::as_array);
    let arguments: Vec<&str> = arguments.into_iter().flatten().filter_map(Value::as_str).collect();
    let option = |name: &str| {
        let place = arguments.iter().position(|argument| *argument == name)?;
        arguments.get(place + 1).copied()
    };
    let mut defects = Vec::new();
    if option("--tee") != Some("sgx") {
        defects.push("`loader.argv` must have \"--tee\", \"sgx\": the warden is told where it runs".into());
    }
    let encrypted = |path: &str| {
        mounts(manifest).any(|mount| {
            let text = |key| mount.get(key).and_then(Value::as_str);
            text("type") == Some("encrypted") && text("path") == Some(path)
        })
    };
    if !arguments.contains(&"--take-over") {
        defects.push(
            "`loader.argv` must have \"--take-over\": nobody could add it later, and an upgrade needs it"
                .into(),
        );
    }
    if !option("--state").is_some_and(encrypted) {
        defects.push("`loader.argv` must have \"--state\" with the path of an encrypted mount".into());
    }
    defects
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = include_str!("../../../deploy/gramine/blindsmith-warden.manifest.template");

    /// What is found once a text of the sound manifest is another.
    fn found(from: &str, to: &str) -> Vec<String> {
        assert!(SOUND.contains(from), "{from}");
        defects(&SOUND.replace(from, to))
    }

    #[test]
    fn the_manifest_in_the_tree_passes() {
        assert_eq!(check(&Tree::of(&[(WARDEN, SOUND)])), []);
    }

    #[test]
    fn a_tree_without_it_is_found() {
        assert_eq!(check(&Tree::of(&[("deploy/x", "")]))[0].place, WARDEN);
    }

    #[test]
    fn every_manifest_is_looked_at() {
        let other = "deploy/other.manifest.template";
        let found = check(&Tree::of(&[(WARDEN, SOUND), (other, "sgx.debug = true")]));
        assert!(found.iter().all(|finding| finding.place == other) && found.len() > 5, "{found:?}");
    }

    #[test]
    fn changed_and_missing_settings_are_found() {
        for (defect, from, to, expected) in [
            ("a debug enclave", "sgx.debug = false", "sgx.debug = true", "`sgx.debug = false`"),
            ("debug by default", "sgx.debug = false\n", "", "`sgx.debug = false`"),
            ("debug by a placeholder", "sgx.debug = false", "sgx.debug = {{ debug }}", "`sgx.debug = false`"),
            ("no attestation", "\"dcap\"", "\"none\"", "`sgx.remote_attestation = \"dcap\"`"),
            ("attestation left out", "sgx.remote_attestation = \"dcap\"\n", "", "`sgx.remote_attestation"),
            ("unchecked files", "\"strict\"", "\"allow_all_but_log\"", "`sgx.file_check_policy"),
            ("talkative logs", "\"error\"", "\"trace\"", "`loader.log_level"),
            (
                "children",
                "disallow_subprocesses = true",
                "disallow_subprocesses = false",
                "starts no programs",
            ),
            ("a warden without its hash", ", sha256 = \"{{ warden_sha256 }}\"", "", "with its `sha256`"),
            ("another's sealing key", "_sgx_mrenclave", "_sgx_mrsigner", "key_name = \"_sgx_mrenclave\""),
            ("a state in the open", "type = \"encrypted\", ", "", "path of an encrypted mount"),
            (
                "a state elsewhere",
                "\"--state\", \"/state\"",
                "\"--state\", \"/lib\"",
                "path of an encrypted mount",
            ),
            (
                "no word of the enclave",
                "\"--tee\", \"sgx\"",
                "\"--tee\", \"simulated\"",
                "told where it runs",
            ),
            ("no way to take over", "\"--take-over\",", "", "an upgrade needs it"),
            (
                "memory shared with the host",
                "type = \"encrypted\"",
                "type = \"untrusted_shm\"",
                "share with the host",
            ),
            ("a variable of the host", "\"/lib:/app/lib\"", "{ passthrough = true }", "host would choose it"),
            ("statements", "sgx.debug = false", "{% if x %}\nsgx.debug = false\n{% endif %}", "write it out"),
            ("a hidden line", "sgx.debug = false", "{# sgx.debug = false #}", "write it out"),
            ("an open placeholder", "{{ refinery }}", "{{ refinery", "without an end"),
            ("no TOML", "sgx.debug = false", "sgx.debug: false", "not a manifest"),
        ] {
            let found = found(from, to);
            assert!(found.iter().any(|f| f.contains(expected)), "{defect}: {found:?}");
        }
    }

    #[test]
    fn added_settings_are_found() {
        for (defect, line, expected) in [
            (
                "arguments of the host",
                "loader.insecure__use_cmdline_argv = true",
                "loader.insecure__use_cmdline_argv",
            ),
            (
                "environment of the host",
                "loader.insecure__use_host_env = true",
                "loader.insecure__use_host_env",
            ),
            ("a key in the open", "fs.insecure__keys.default = \"00\"", "fs.insecure__keys"),
            ("threads outside", "sgx.insecure__rpc_thread_num = 4", "sgx.insecure__rpc_thread_num"),
            ("allowed files", "sgx.allowed_files = [\"file:/etc/hosts\"]", "`sgx.allowed_files`"),
            ("no allowed files, but room for them", "sgx.allowed_files = []", "`sgx.allowed_files`"),
            ("device calls", "sgx.allowed_ioctls = []", "`sgx.allowed_ioctls`"),
            ("arguments from a file", "loader.argv_src_file = \"file:a\"", "`loader.argv_src_file`"),
            ("environment from a file", "loader.env_src_file = \"file:a\"", "`loader.env_src_file`"),
            ("profiling", "sgx.profile.enable = \"all\"", "`sgx.profile`"),
            ("statistics", "sgx.enable_stats = true", "`sgx.enable_stats`"),
            ("signals of the host", "sys.enable_sigterm_injection = true", "`sys.enable_sigterm_injection`"),
        ] {
            let found = defects(&format!("{SOUND}\n{line}\n"));
            assert_eq!(found.len(), 1, "{defect}: {found:?}");
            assert!(found[0].contains(expected), "{defect}: {found:?}");
        }
    }
}
