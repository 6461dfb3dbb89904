//! The dependency graph, as cargo resolves it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata};

/// All crates of a build.
pub struct Graph {
    pub crates: Vec<Crate>,
    edges: Vec<Vec<Edge>>,
}

/// A crate of ours or an external one.
pub struct Crate {
    pub name: String,
    /// Where it lies in the workspace; none if it is external.
    pub folder: Option<String>,
}

/// One crate needs another.
#[derive(Clone, Copy)]
pub struct Edge {
    pub to: usize,
    pub kind: Kind,
}

/// What for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Normal,
    Build,
    Dev,
}

impl Graph {
    /// The resolved graph.
    pub fn of(metadata: &Metadata) -> Result<Self> {
        let resolve = metadata.resolve.as_ref().context("cargo resolved no dependencies")?;
        let index: HashMap<_, _> = metadata.packages.iter().enumerate().map(|(i, p)| (&p.id, i)).collect();
        let crates = metadata.packages.iter().map(|package| {
            let ours = metadata.workspace_members.contains(&package.id);
            let folder = package.manifest_path.parent().filter(|_| ours);
            Crate {
                name: package.name.to_string(),
                folder: folder
                    .and_then(|f| f.strip_prefix(&metadata.workspace_root).ok())
                    .map(|f| f.as_str().into()),
            }
        });
        let mut edges = vec![Vec::new(); metadata.packages.len()];
        for node in &resolve.nodes {
            for dependency in &node.deps {
                for use_ in &dependency.dep_kinds {
                    let kind = match use_.kind {
                        DependencyKind::Build => Kind::Build,
                        DependencyKind::Development => Kind::Dev,
                        _ => Kind::Normal,
                    };
                    edges[index[&node.id]].push(Edge { to: index[&dependency.pkg], kind });
                }
            }
        }
        Ok(Graph { crates: crates.collect(), edges })
    }

    /// Without the external crates that `keep` does not name.
    pub fn only(mut self, keep: &HashSet<String>) -> Self {
        let crates = &self.crates;
        let kept = |edge: &Edge| crates[edge.to].folder.is_some() || keep.contains(&crates[edge.to].name);
        self.edges.iter_mut().for_each(|edges| edges.retain(kept));
        self
    }

    /// The crates of the workspace: index and folder.
    pub fn ours(&self) -> impl Iterator<Item = (usize, &str)> {
        self.crates.iter().enumerate().filter_map(|(i, c)| Some((i, c.folder.as_deref()?)))
    }

    /// The crate in a folder of the workspace.
    pub fn at(&self, folder: &str) -> Option<usize> {
        self.ours().find(|(_, f)| *f == folder).map(|(i, _)| i)
    }

    /// Everything that `from` reaches over the edges that `follow` accepts, told their distance from it (the
    /// first is 0), each with a shortest route that starts with `from`.
    pub fn routes(&self, from: usize, follow: impl Fn(usize, Edge) -> bool) -> BTreeMap<usize, Vec<usize>> {
        let mut routes = BTreeMap::from([(from, vec![from])]);
        let mut queue = VecDeque::from([from]);
        while let Some(next) = queue.pop_front() {
            let route = routes[&next].clone();
            for &edge in &self.edges[next] {
                if !routes.contains_key(&edge.to) && follow(route.len() - 1, edge) {
                    routes.insert(edge.to, [route.as_slice(), &[edge.to]].concat());
                    queue.push_back(edge.to);
                }
            }
        }
        routes.remove(&from);
        routes
    }

    /// Everything that is built when `from` is: normal and build dependencies, not those of tests.
    pub fn built_with(&self, from: usize) -> BTreeMap<usize, Vec<usize>> {
        self.routes(from, |_, edge| edge.kind != Kind::Dev)
    }

    /// A route in words.
    pub fn describe(&self, route: &[usize]) -> String {
        route.iter().map(|&i| self.crates[i].name.as_str()).collect::<Vec<_>>().join(" -> ")
    }
}

#[cfg(test)]
pub mod synthetic {
    //! Small graphs for the rules' own tests.

    use super::*;

    /// A graph from lines `a -> b`, `a -build-> b`, `a -dev-> b`. A name with a slash is a folder of the
    /// workspace, any other an external crate.
    pub fn graph(lines: &[&str]) -> Graph {
        let mut graph = Graph { crates: Vec::new(), edges: Vec::new() };
        for line in lines {
            let mut words = line.split_whitespace();
            let from = add(&mut graph, words.next().expect("a crate"));
            let Some(arrow) = words.next() else { continue };
            let kind = match arrow {
                "->" => Kind::Normal,
                "-build->" => Kind::Build,
                "-dev->" => Kind::Dev,
                _ => panic!("no arrow: {arrow}"),
            };
            let to = add(&mut graph, words.next().expect("a crate"));
            graph.edges[from].push(Edge { to, kind });
        }
        graph
    }

    fn add(graph: &mut Graph, name: &str) -> usize {
        if let Some(known) = graph.crates.iter().position(|c| c.name == name) {
            return known;
        }
        graph
            .crates
            .push(Crate { name: name.to_owned(), folder: name.contains('/').then(|| name.to_owned()) });
        graph.edges.push(Vec::new());
        graph.crates.len() - 1
    }

    #[test]
    fn routes_are_shortest_and_follow_what_is_asked() {
        let graph = graph(&["a -> b", "b -> c", "c -> d", "a -build-> c", "d -> a", "a -dev-> e"]);
        let built = graph.built_with(0);
        let described: Vec<_> = built.values().map(|route| graph.describe(route)).collect();
        assert_eq!(described, ["a -> b", "a -> c", "a -> c -> d"]);
    }
}
