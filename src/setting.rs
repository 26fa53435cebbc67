//! Settings: each is a field of a plain struct, written down once with its type, its default and
//! its meaning, by [`settings!`]. The configuration file is read into these structs, flags are put
//! over them, and what uses them takes the struct as it is. The manual page dbbackup.toml(5) is
//! made from the same definitions.
//!
//! This room knows nothing of the file's language: a value that was written comes as a
//! [`WrittenValue`], and a path is made absolute by whoever knows what it is relative to.

mod command;
mod values;
mod written;

pub use command::UserCommand;
pub use values::WordChoice;
pub use written::WrittenValue;

use std::path::{Path, PathBuf};

/// Makes a path absolute; the error says why that is impossible.
pub type PathResolver<'a> = dyn Fn(&Path) -> Result<PathBuf, String> + 'a;

/// A type that a setting can have.
pub trait SettingType: Sized {
    /// Reads a value that was written.
    ///
    /// # Errors
    /// A sentence for the user. It may have a second line, which is the hint.
    fn read(value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<Self, String>;

    /// The value as it is written in the file; `None` where it is one that nobody writes, as the
    /// absence of a limit is.
    fn as_written(&self) -> Option<String>;

    /// The type in words, in Markdown, for the manual.
    fn type_name() -> String;
}

/// A setting of any type, as a place that can be written to.
pub trait SettingSlot {
    /// Replaces the setting by the value that was written; see [`SettingType::read`].
    fn set(&mut self, value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<(), String>;

    /// The present value; see [`SettingType::as_written`].
    fn current(&self) -> Option<String>;

    /// The type in words; see [`SettingType::type_name`].
    fn type_in_words(&self) -> String;
}

impl<T: SettingType> SettingSlot for T {
    fn set(&mut self, value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<(), String> {
        *self = T::read(value, resolve)?;
        Ok(())
    }

    fn current(&self) -> Option<String> {
        self.as_written()
    }

    fn type_in_words(&self) -> String {
        T::type_name()
    }
}

/// One setting of the struct `S`.
pub struct SettingKey<S> {
    /// The key in the file.
    pub name: &'static str,
    /// What it means: the field's doc comment, in Markdown.
    pub meaning: &'static str,
    /// Where its value lies.
    pub slot: fn(&mut S) -> &mut dyn SettingSlot,
}

/// A struct whose fields are settings.
pub trait SettingGroup: Default + 'static {
    /// Every setting, in the order in which people read of them.
    const KEYS: &'static [SettingKey<Self>];

    /// The key of that name.
    fn key(name: &str) -> Option<&'static SettingKey<Self>> {
        Self::KEYS.iter().find(|key| key.name == name)
    }

    /// The names of all keys.
    fn key_names() -> Vec<&'static str> {
        Self::KEYS.iter().map(|key| key.name).collect()
    }
}

/// Defines a struct of settings: each field with its doc comment, type and default. A field that
/// has another name in the file is `field as "key"`. Fields behind `beside` are no settings, and
/// come from elsewhere.
///
/// A macro, because otherwise every setting would be named four times: in the struct, in its
/// default, in the list of keys and in the manual.
macro_rules! settings {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident {
            $($(#[doc = $doc:literal])+
            pub $key:ident $(as $name_in_file:literal)?: $kind:ty = $default:expr,)+
        }
        $(beside {
            $($(#[doc = $other_doc:literal])+ pub $other:ident: $other_kind:ty,)+
        })?
    ) => {
        $(#[$attribute])*
        pub struct $name {
            $($(#[doc = $doc])+ pub $key: $kind,)+
            $($($(#[doc = $other_doc])+ pub $other: $other_kind,)+)?
        }

        impl Default for $name {
            fn default() -> Self {
                $name {
                    $($key: $default,)+
                    $($($other: Default::default(),)+)?
                }
            }
        }

        impl $crate::setting::SettingGroup for $name {
            const KEYS: &'static [$crate::setting::SettingKey<Self>] = &[$(
                $crate::setting::SettingKey {
                    name: $crate::setting::key_name!($key $($name_in_file)?),
                    meaning: concat!($($doc, "\n"),+),
                    slot: |settings| &mut settings.$key,
                },
            )+];
        }
    };
}
pub(crate) use settings;

/// The name that a setting has in the file: its own, or the one that is given.
macro_rules! key_name {
    ($key:ident) => {
        stringify!($key)
    };
    ($key:ident $name:literal) => {
        $name
    };
}
pub(crate) use key_name;
