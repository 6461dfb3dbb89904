//! The page that shows a project in a browser: a few files that are part of the program.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::IntoResponse;
use axum::routing::get;

/// A file: its path, its media type, its content.
struct File {
    /// The path at which it is served.
    path: &'static str,
    /// Its media type.
    media: &'static str,
    /// Its content.
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

macro_rules! files {
    ($($path:literal $name:literal $media:ident;)*) => {
        /// All files of the page.
        const FILES: &[File] = &[$(
            File { path: $path, media: $media, text: include_str!(concat!("../../web/", $name)) },
        )*];
    };
}

files! {
    "/" "index.html" HTML;
    "/style.css" "style.css" STYLE;
    "/app.js" "app.js" SCRIPT;
    "/chart.js" "chart.js" SCRIPT;
    "/metrics.js" "metrics.js" SCRIPT;
    "/parts.js" "parts.js" SCRIPT;
    "/sealed.js" "sealed.js" SCRIPT;
    "/signature.js" "signature.js" SCRIPT;
    "/icon.svg" "icon.svg" IMAGE;
}

/// What a browser may do for the page: fetch from where the page came, run its files, and nothing else. Text is never
/// taken for markup, whatever is in it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The headers of every file: always asked for again, because a new refinery has new files at the same paths.
const HEADERS: [(HeaderName, &str); 4] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (CACHE_CONTROL, "no-cache"),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// Serves the files to everybody: nothing in them is of a project.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |router, file| {
        let answer = || async { ([(CONTENT_TYPE, file.media)], HEADERS, file.text).into_response() };
        router.route(file.path, get(answer))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What stands between `before` and the next quotation mark, everywhere.
    fn quoted<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
        text.split(before).skip(1).filter_map(|rest| rest.split_once('"')).map(|(name, _)| name).collect()
    }

    #[test]
    fn every_file_that_a_file_names_is_served_and_every_file_served_is_named() {
        let mut named = BTreeSet::from(["/".to_owned()]);
        for file in FILES {
            let links = ["src=\"", "href=\""].iter().flat_map(|before| quoted(file.text, before));
            named.extend(links.map(str::to_owned));
            if file.media == SCRIPT {
                let imports = quoted(file.text, " from \".");
                named.extend(imports.into_iter().map(str::to_owned));
            }
        }
        assert_eq!(named, FILES.iter().map(|file| file.path.to_owned()).collect());
    }

    #[test]
    fn nothing_in_the_files_needs_what_the_policy_forbids() {
        for file in FILES {
            for forbidden in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "javascript:"]
            {
                assert!(!file.text.contains(forbidden), "{} has {forbidden}", file.path);
            }
            let elsewhere = file.text.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !elsewhere.contains("http://") && !elsewhere.contains("https://"),
                "{} goes elsewhere",
                file.path
            );
        }
        let page = FILES[0].text;
        for inline in ["<style", " style=", " onclick=", " onload="] {
            assert!(!page.contains(inline), "{inline}");
        }
        assert_eq!(page.matches("<script").count(), page.matches("<script type=\"module\" src=").count());
    }

    #[test]
    fn the_routes_have_no_path_twice() {
        // A router panics if they do.
        let _: Router = routes();
    }
}
