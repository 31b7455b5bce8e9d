//! The schemas of all outputs, as `docs/json` has them.

use super::{
    Archived, Document, Drained, Entries, Event, Explanation, Jobs, PlaceSettings, Places, Planned,
    Recorded, Report, Resumed, Status, Suspended, Transferred, Validation, Verified,
};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

/// Name and text of each output's schema; what a command prints is valid by it.
pub fn schemas() -> Vec<(&'static str, String)> {
    let all = [
        ("status", text::<Status> as fn() -> String),
        ("list", text::<Jobs>),
        ("report", text::<Report>),
        ("explain", text::<Explanation>),
        ("events", text::<Event>),
        ("validate", text::<Validation>),
        ("places", text::<Places>),
        ("place", text::<PlaceSettings>),
        ("drain", text::<Drained>),
        ("suspend", text::<Suspended>),
        ("resume", text::<Resumed>),
        ("checkpoint", text::<Recorded>),
        ("storage-ls", text::<Entries>),
        ("transfer", text::<Transferred>),
        ("transfer-plan", text::<Planned>),
        ("transfer-zip", text::<Archived>),
        ("verify", text::<Verified>),
    ];
    all.map(|(name, text)| (name, text())).into()
}

fn text<T: JsonSchema>() -> String {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut about = settings.clone().into_generator();
    let about = T::json_schema(&mut about).remove("description");
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<Document<T>>();
    schema.remove("title");
    if let Some(about) = about {
        schema.insert("description".to_owned(), about);
    }
    format!("{:#}\n", schema.to_value())
}
