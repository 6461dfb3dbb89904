//! Recipes out of range, and recipes as text.

use blindsmith_learn::*;

fn good() -> Recipe {
    Recipe::new(&[64, 32, 10], Loss::SoftmaxCrossEntropy)
}

#[test]
fn default_recipes_are_valid() {
    assert_eq!(good().validate(), Ok(()));
    assert_eq!(Recipe::new(&[64, 10], Loss::Logistic).validate(), Ok(()));
    assert_eq!(Recipe::new(&[1, 1], Loss::MeanSquaredError).validate(), Ok(()));
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    type Spoil = fn(&mut Recipe);
    let cases: [(&str, Spoil); 24] = [
        ("widths", |r| r.widths = vec![64]),
        ("widths", |r| r.widths = vec![64, 0, 10]),
        ("widths", |r| r.widths = vec![64, 1 << 21, 10]),
        ("momentum", |r| r.rule = Rule::Momentum { momentum: 1.0 }),
        ("momentum", |r| r.rule = Rule::Nesterov { momentum: -0.1 }),
        ("beta1 or beta2", |r| r.rule = Rule::Adam(Moments { beta2: 1.0, ..Moments::default() })),
        ("epsilon", |r| r.rule = Rule::AdamW(Moments { epsilon: 0.0, ..Moments::default() })),
        ("learning_rate", |r| r.learning_rate = 0.0),
        ("learning_rate", |r| r.learning_rate = f32::NAN),
        ("weight_decay", |r| r.weight_decay = -1e-4),
        ("weight_decay", |r| r.weight_decay = 1e-20),
        ("schedule epochs", |r| r.schedule = Schedule::Step { epochs: 0, factor: 0.5 }),
        ("schedule factor", |r| r.schedule = Schedule::Step { epochs: 1, factor: 0.0 }),
        ("schedule end", |r| r.schedule = Schedule::Cosine { end: 1.5 }),
        ("warm_up", |r| r.warm_up = 1.0),
        ("clip_norm", |r| r.clip_norm = Some(0.0)),
        ("batch_rows", |r| r.batch_rows = 0),
        ("micro_batch_rows", |r| r.micro_batch_rows = Some(0)),
        ("epochs", |r| r.epochs = 0),
        ("threshold", |r| r.threshold = 0.4),
        ("threshold", |r| r.threshold = f32::NAN),
        ("input_rms", |r| r.input_rms = 0.0),
        ("input_rms", |r| r.input_rms = f32::INFINITY),
        ("warm_up", |r| r.warm_up = f32::NAN),
    ];
    for (name, spoil) in cases {
        let mut recipe = good();
        spoil(&mut recipe);
        let error = recipe.validate();
        assert!(
            matches!(error, Err(RecipeError::Range { setting, .. }) if setting == name),
            "{name}: {error:?}"
        );
        assert!(Trainer::new(recipe).is_err());
    }
}

#[test]
fn activations_classes_and_weights_must_fit() {
    let spoilt = |spoil: fn(&mut Recipe)| {
        let mut recipe = good();
        spoil(&mut recipe);
        recipe.validate()
    };
    let none = Err(RecipeError::Activations { found: 0, hidden: 1 });
    assert_eq!(spoilt(|r| r.activations.clear()), none);
    assert_eq!(spoilt(|r| r.widths = vec![64, 32, 1]), Err(RecipeError::OneClass));
    let weights = ObjectiveError::ClassWeights { found: 2, outputs: 10 };
    assert_eq!(spoilt(|r| r.class_weights = vec![1.0; 2]), Err(RecipeError::Objective(weights)));
}

#[test]
fn recipes_survive_text_and_unknown_settings_do_not() {
    let mut recipe = good();
    recipe.rule = Rule::AdamW(Moments::default());
    recipe.micro_batch_rows = Some(4096);
    let text = serde_json::to_string(&recipe).expect("text");
    assert_eq!(serde_json::from_str::<Recipe>(&text).expect("recipe"), recipe);
    let unknown = text.replacen('{', "{\"surprise\":1,", 1);
    assert!(serde_json::from_str::<Recipe>(&unknown).is_err());
}
