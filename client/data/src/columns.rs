//! Which column of a file is a feature, which a label, and which is skipped.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::str::FromStr;

use crate::error::{Error, FileDefect, Result};
use crate::table::{Columns, ReadOptions};

/// How a column is asked for.
///
/// Parsed from text, `#3` is the third column and `#last` the last; anything else is a name. Where a file
/// has no names, a bare `3` and `last` mean the same as `#3` and `#last`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnRef {
    /// By the name in the header.
    Name(String),
    /// By position, counted from 1.
    Number(usize),
    /// The last column.
    Last,
}

impl ColumnRef {
    fn position(text: &str) -> Option<Self> {
        match text {
            "last" => Some(Self::Last),
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok().map(Self::Number),
            _ => None,
        }
    }
}

impl From<&str> for ColumnRef {
    fn from(text: &str) -> Self {
        text.strip_prefix('#').and_then(Self::position).unwrap_or_else(|| Self::Name(text.into()))
    }
}

impl FromStr for ColumnRef {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.into())
    }
}

/// What becomes of a column's cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Feature at this index.
    Feature(usize),
    /// Label at this index.
    Label(usize),
    /// Identifier of the row at this index.
    Id(usize),
    Skip,
}

/// The roles of a file's columns.
#[derive(Default)]
pub(crate) struct Layout {
    pub(crate) roles: Vec<Role>,
    pub(crate) features: usize,
    pub(crate) labels: usize,
    /// How many columns identify rows.
    ids: usize,
    /// Names of columns that count rows, and were left out for it.
    pub(crate) left_out: Vec<String>,
    names: Option<Vec<String>>,
}

/// Whether a column of this name counts rows: pandas calls an index so that has no name of its own.
fn counts_rows(name: &str, column: usize) -> bool {
    let level = name.strip_prefix("__index_level_").and_then(|rest| rest.strip_suffix("__"));
    let level = level.is_some_and(|level| !level.is_empty() && level.bytes().all(|b| b.is_ascii_digit()));
    level || (column == 0 && name == "Unnamed: 0")
}

impl Layout {
    /// Assigns roles to `count` columns, named or not, as `options` asks. Features are in the order of `recorded`, where
    /// that is given and the file has names. Columns of `index` are row indices as the file says.
    pub(crate) fn resolve(
        file: &str,
        (names, count): (Option<Vec<String>>, usize),
        (options, recorded): (&ReadOptions, Option<&[String]>),
        index: &[String],
    ) -> Result<Self> {
        Resolver::new(file, names, count).layout(options, recorded, index)
    }

    /// Which feature a column is.
    pub(crate) fn feature(&self, file: &str, reference: &ColumnRef) -> Result<usize> {
        let column = Resolver::new(file, self.names.clone(), self.roles.len()).find(reference)?;
        match self.roles[column] {
            Role::Feature(index) => Ok(index),
            _ => Err(Error::file(file, FileDefect::TwoRoles { name: self.display(column) })),
        }
    }

    /// `count` columns without names that are all labels.
    pub(crate) fn labels_only(count: usize) -> Self {
        let roles = (0..count).map(Role::Label).collect();
        Self { roles, labels: count, ..Self::default() }
    }

    /// The column's name in quotes, or `#` and its position counted from 1.
    pub(crate) fn display(&self, column: usize) -> String {
        display(self.names.as_deref(), column)
    }

    /// Names of the features in their order, where the file has names.
    pub(crate) fn feature_names(&self) -> Option<Vec<String>> {
        let names = self.names.as_ref()?;
        let mut ordered = vec![String::new(); self.features];
        for (role, name) in self.roles.iter().zip(names) {
            if let Role::Feature(index) = role {
                ordered[*index].clone_from(name);
            }
        }
        Some(ordered)
    }

    /// Positions of the features in their order, as `#` and a number counted from 1.
    pub(crate) fn feature_positions(&self) -> Vec<String> {
        self.ordered(
            self.features,
            |role| if let Role::Feature(index) = role { Some(index) } else { None },
            false,
        )
    }

    /// Names (or positions) of the labels in their order.
    pub(crate) fn label_names(&self) -> Vec<String> {
        self.ordered(self.labels, |role| if let Role::Label(index) = role { Some(index) } else { None }, true)
    }

    /// Names (or positions) of the columns that identify rows.
    pub(crate) fn id_names(&self) -> Vec<String> {
        self.ordered(self.ids, |role| if let Role::Id(index) = role { Some(index) } else { None }, true)
    }

    fn ordered(&self, count: usize, index: impl Fn(Role) -> Option<usize>, named: bool) -> Vec<String> {
        let mut ordered = vec![String::new(); count];
        for (column, &role) in self.roles.iter().enumerate() {
            if let Some(index) = index(role) {
                ordered[index] = match self.names.as_ref().filter(|_| named) {
                    Some(names) => names[column].clone(),
                    None => format!("#{}", column + 1),
                };
            }
        }
        ordered
    }
}

fn display(names: Option<&[String]>, column: usize) -> String {
    match names {
        Some(names) => format!("{:?}", names[column]),
        None => format!("#{}", column + 1),
    }
}

struct Resolver<'a> {
    file: &'a str,
    names: Option<Vec<String>>,
    count: usize,
    /// Position of each name and, for a name that occurs twice, of its second occurrence.
    positions: HashMap<String, (usize, Option<usize>)>,
}

impl<'a> Resolver<'a> {
    fn new(file: &'a str, names: Option<Vec<String>>, count: usize) -> Self {
        let mut positions: HashMap<String, (usize, Option<usize>)> = HashMap::new();
        for (column, name) in names.iter().flatten().enumerate() {
            positions
                .entry(name.clone())
                .and_modify(|(_, second)| *second = second.or(Some(column)))
                .or_insert((column, None));
        }
        Self { file, names, count, positions }
    }

    fn layout(self, options: &ReadOptions, recorded: Option<&[String]>, index: &[String]) -> Result<Layout> {
        let mut roles: Vec<Option<Role>> = vec![None; self.count];
        for (index, column) in self.labels(options)?.into_iter().enumerate() {
            self.assign(&mut roles, column, Role::Label(index))?;
        }
        let labels = roles.iter().flatten().count();
        for reference in &options.ignore {
            let column = self.find(reference)?;
            if roles[column] != Some(Role::Skip) {
                self.assign(&mut roles, column, Role::Skip)?;
            }
        }
        let ids = self.ids(&mut roles, options)?;
        let recorded = recorded.filter(|_| self.names.is_some());
        let left_out = self.leave_out(&mut roles, (options, recorded), index);
        let features = match recorded {
            Some(recorded) => self.recorded(&mut roles, recorded)?,
            None => self.features(&mut roles, options)?,
        };
        if features == 0 {
            return Err(self.refuse(FileDefect::NoFeatures));
        }
        let roles: Vec<Role> = roles.into_iter().map(|role| role.unwrap_or(Role::Skip)).collect();
        self.refuse_ambiguous_names(&roles)?;
        Ok(Layout { roles, features, labels, ids, left_out, names: self.names })
    }

    /// Gives columns that identify rows their roles, and returns how many there are. Recorded ones may be absent.
    fn ids(&self, roles: &mut [Option<Role>], options: &ReadOptions) -> Result<usize> {
        let columns = match &options.columns {
            Columns::Plain => Vec::new(),
            Columns::Inferred(choices) => {
                choices.ids.iter().map(|id| self.find(id)).collect::<Result<Vec<_>>>()?
            }
            Columns::Recorded { preprocessing, .. } => {
                let found = preprocessing.ids().iter().map(|id| self.find(&id.as_str().into()));
                // One that is given up by --ignore stays so.
                found.flatten().filter(|&column| roles[column] != Some(Role::Skip)).collect()
            }
        };
        for (index, &column) in columns.iter().enumerate() {
            self.assign(roles, column, Role::Id(index))?;
        }
        Ok(columns.len())
    }

    /// Gives the recorded columns their roles, and returns how many there are. Others must not be left.
    fn recorded(&self, roles: &mut [Option<Role>], recorded: &[String]) -> Result<usize> {
        let missing: Vec<String> =
            recorded.iter().filter(|name| !self.positions.contains_key(*name)).cloned().collect();
        if !missing.is_empty() {
            return Err(self.refuse(FileDefect::MissingFeatures { names: missing }));
        }
        for (index, name) in recorded.iter().enumerate() {
            self.assign(roles, self.named(name)?, Role::Feature(index))?;
        }
        let names = self.names.iter().flatten();
        let extra: Vec<String> = names
            .zip(roles.iter())
            .filter(|(_, role)| role.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        match extra.is_empty() {
            true => Ok(recorded.len()),
            false => Err(self.refuse(FileDefect::ExtraFeatures { names: extra })),
        }
    }

    /// Leaves out columns that count rows and were not asked for; their names.
    fn leave_out(
        &self,
        roles: &mut [Option<Role>],
        (options, recorded): (&ReadOptions, Option<&[String]>),
        index: &[String],
    ) -> Vec<String> {
        let kept = |name: &String| {
            let asked_for = options.keep.as_ref().is_some_and(|keep| keep.contains(name));
            asked_for || recorded.is_some_and(|recorded| recorded.contains(name))
        };
        let mut left_out = Vec::new();
        for (column, name) in self.names.iter().flatten().enumerate() {
            let counts = counts_rows(name, column) || index.contains(name);
            if counts && roles[column].is_none() && !kept(name) {
                roles[column] = Some(Role::Skip);
                left_out.push(name.clone());
            }
        }
        left_out
    }

    fn labels(&self, options: &ReadOptions) -> Result<Vec<usize>> {
        let found: Vec<Result<usize>> = options.labels.iter().map(|label| self.find(label)).collect();
        if options.labels_optional && found.iter().all(Result::is_err) {
            return Ok(Vec::new());
        }
        found.into_iter().collect()
    }

    /// Gives the columns that are left their roles as features, and returns how many there are.
    fn features(&self, roles: &mut [Option<Role>], options: &ReadOptions) -> Result<usize> {
        if let (Some(keep), Some(_)) = (&options.keep, &self.names) {
            let missing: Vec<String> =
                keep.iter().filter(|name| !self.positions.contains_key(*name)).cloned().collect();
            if !missing.is_empty() {
                return Err(self.refuse(FileDefect::MissingFeatures { names: missing }));
            }
            for (index, name) in keep.iter().enumerate() {
                self.assign(roles, self.named(name)?, Role::Feature(index))?;
            }
            return Ok(keep.len());
        }
        let mut features = 0;
        for role in roles.iter_mut().filter(|role| role.is_none()) {
            *role = Some(Role::Feature(features));
            features += 1;
        }
        match &options.keep {
            Some(keep) if keep.len() != features => {
                Err(self.refuse(FileDefect::FeatureCount { expected: keep.len(), found: features }))
            }
            _ => Ok(features),
        }
    }

    fn assign(&self, roles: &mut [Option<Role>], column: usize, role: Role) -> Result<()> {
        if roles[column].is_some() {
            let name = display(self.names.as_deref(), column);
            return Err(self.refuse(FileDefect::TwoRoles { name }));
        }
        roles[column] = Some(role);
        Ok(())
    }

    fn find(&self, reference: &ColumnRef) -> Result<usize> {
        match reference {
            ColumnRef::Last => Ok(self.count - 1),
            ColumnRef::Number(number) => match number.checked_sub(1) {
                Some(column) if column < self.count => Ok(column),
                _ => Err(self.refuse(FileDefect::NoSuchPosition { number: *number, columns: self.count })),
            },
            ColumnRef::Name(name) => match (&self.names, ColumnRef::position(name)) {
                (None, Some(position)) => self.find(&position),
                _ => self.named(name),
            },
        }
    }

    fn named(&self, name: &str) -> Result<usize> {
        match self.positions.get(name) {
            Some(&(column, None)) => Ok(column),
            Some(&(first, Some(second))) => Err(self.duplicate(name, first, second)),
            None => Err(self.refuse(FileDefect::NoSuchColumn {
                name: name.into(),
                near: self.near(name),
                columns: self.count,
            })),
        }
    }

    /// The names most similar to `name`, ten at most.
    fn near(&self, name: &str) -> Vec<String> {
        const SHOWN: usize = 10;
        let wanted = name.to_lowercase();
        let mut scored: Vec<(f64, &String)> = self
            .names
            .iter()
            .flatten()
            .map(|candidate| (strsim::jaro_winkler(&wanted, &candidate.to_lowercase()), candidate))
            .collect();
        scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        scored.into_iter().take(SHOWN).map(|(_, candidate)| candidate.clone()).collect()
    }

    fn refuse_ambiguous_names(&self, roles: &[Role]) -> Result<()> {
        let mut seen: HashSet<&str> = HashSet::new();
        for (column, name) in self.names.iter().flatten().enumerate() {
            if roles[column] == Role::Skip {
                continue;
            }
            if name.is_empty() {
                return Err(self.refuse(FileDefect::UnnamedColumn { number: column + 1 }));
            }
            if !seen.insert(name) {
                let first = (0..column).find(|&c| roles[c] != Role::Skip && self.name(c) == Some(name));
                return Err(self.duplicate(name, first.unwrap_or(column), column));
            }
        }
        Ok(())
    }

    fn name(&self, column: usize) -> Option<&str> {
        self.names.as_ref().map(|names| names[column].as_str())
    }

    fn duplicate(&self, name: &str, first: usize, second: usize) -> Error {
        self.refuse(FileDefect::DuplicateColumn { name: name.into(), first: first + 1, second: second + 1 })
    }

    fn refuse(&self, defect: FileDefect) -> Error {
        Error::file(self.file, defect)
    }
}
