//! What changed between two views, in lines.

use super::{View, short, speed, state_word};
use blindsmith_client::report::{RoundReport, role_word};

/// A line for each change; all of it if there was nothing before.
pub(super) fn lines(before: Option<&View>, now: &View) -> Vec<String> {
    let mut lines = Vec::new();
    let changed = |of: fn(&View) -> String| {
        let text = of(now);
        (before.map(of).as_ref() != Some(&text) && !text.is_empty()).then_some(text)
    };
    if before.is_none() {
        lines.push(format!("project {} ({})", now.report.project, now.report.name));
    }
    lines.extend(changed(warden));
    for upload in &now.report.uploads {
        let known = before.and_then(|b| b.report.uploads.iter().find(|u| u.upload == upload.upload));
        if known.is_some_and(|k| k.state == upload.state) {
            continue;
        }
        let reason = upload.reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default();
        let (role, state) = (role_word(upload.role), state_word(upload.state));
        lines.push(format!("upload {} {role} {} rows {state}{reason}", short(upload), upload.rows));
    }
    let known = before.map_or(0, |b| b.report.rounds.len());
    lines.extend(now.report.rounds.iter().skip(known).map(decision));
    lines.extend(changed(|view| {
        let of = view.progress.as_ref();
        of.map(|p| format!("round {} under way: step {} of {}", p.round, p.step, p.steps)).unwrap_or_default()
    }));
    lines.extend(changed(|view| (if view.report.busy { "busy" } else { "idle" }).into()));
    lines.extend(changed(|v| v.report.failure.as_ref().map(|f| format!("FAILED: {f}")).unwrap_or_default()));
    lines.extend(changed(|v| v.trouble.as_ref().map(|t| format!("TROUBLE: {t}")).unwrap_or_default()));
    lines.into_iter().map(|line| line.replace(char::is_control, " ")).collect()
}

fn warden(view: &View) -> String {
    let held = if view.report.ready { "secrets held" } else { "secrets not held" };
    match view.report.warden.as_deref() {
        None => "no warden is connected".into(),
        Some("simulated") => format!("warden SIMULATED (protects nothing), {held}"),
        Some(tee) => format!("warden {tee}, {held}"),
    }
}

fn decision(round: &RoundReport) -> String {
    let mut line = format!("round {} {}: version {}", round.round, round.decision, round.current);
    if let Some(rate) = speed(round) {
        line += &format!(", {} rows in {:.1} s, {rate:.0} rows/s", round.rows, round.seconds);
    }
    if let Some(loss) = round.training_loss.as_ref().and_then(|l| l.last()) {
        line += &format!(", training loss {loss:.4}");
    }
    if let Some(validation) = &round.validation {
        line += &format!(", validation {}", validation.words());
    }
    if let Some(reason) = &round.failure {
        line += &format!(", because {reason}");
    }
    for q in &round.quarantined {
        line += &format!(", quarantined {}: {}", q.upload.get(..16).unwrap_or(&q.upload), q.reason);
    }
    line
}

#[cfg(test)]
mod tests {
    use blindsmith_api::message::UploadState;
    use blindsmith_protocol::Progress;

    use super::super::screen::tests::view;
    use super::*;

    #[test]
    fn the_first_view_is_told_in_full_and_the_same_again_not_at_all() {
        let view = view(true);
        let all = lines(None, &view).join("\n");
        for part in [
            "project aa",
            "warden SIMULATED (protects nothing), secrets held",
            "upload bbbbbbbbbbbbbbbb training 120 rows quarantined: its labels contradict",
            "round 2 rolled-back: version 1, 200 rows in 4.0 s, 50 rows/s, training loss 0.3000",
            "because the loss rose",
            "round 3 under way: step 5 of 40",
            "busy",
        ] {
            assert!(all.contains(part), "{part} in\n{all}");
        }
        assert_eq!(lines(Some(&view), &view), Vec::<String>::new());
    }

    #[test]
    fn each_change_is_one_line() {
        let before = view(true);
        let mut now = before.clone();
        now.progress = Some(Progress { round: 3, step: 6, steps: 40 });
        assert_eq!(lines(Some(&before), &now), ["round 3 under way: step 6 of 40"]);
        now = before.clone();
        now.report.uploads[1].state = UploadState::Used;
        assert_eq!(lines(Some(&before), &now), ["upload cccccccccccccccc training 80 rows used"]);
        now = before.clone();
        now.report.warden = None;
        assert_eq!(lines(Some(&before), &now), ["no warden is connected"]);
        now = before.clone();
        now.trouble = Some("no refinery answers".into());
        assert_eq!(lines(Some(&before), &now), ["TROUBLE: no refinery answers"]);
    }

    #[test]
    fn what_a_refinery_says_moves_no_cursor() {
        let mut view = view(true);
        view.report.failure = Some("\x1b[2Jall is well\nround 9 promoted".into());
        let all = lines(None, &view);
        assert!(all.contains(&"FAILED:  [2Jall is well round 9 promoted".to_owned()), "{all:?}");
    }
}
