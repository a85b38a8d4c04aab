from bertline.store.realizations import Outcome, realize, require


def run(config, store):
    def build(build):
        vocabulary = require(store, "vocabulary", config.vocabulary)
        return Outcome({"pieces": vocabulary.manifest.results["pieces"]}, {})

    return realize(store, config.derivation(), build)
