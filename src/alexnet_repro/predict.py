"""What a network takes images for: ``python -m alexnet_repro.predict checkpoint=… images=…``."""

import json
import logging

from omegaconf import DictConfig

from alexnet_repro.config import command, validated
from alexnet_repro.schema.predict import PredictSchema

log = logging.getLogger(__name__)


@command("predict", words={"--json": "json=true"})
def main(config: DictConfig) -> None:
    values = validated(config, PredictSchema)
    from alexnet_repro.console import console
    from alexnet_repro.seeing import predictions
    from alexnet_repro.seeing.images import Damaged, end_with_damaged, find_images

    paths = find_images(values["images"])
    trained = predictions.trained_with_words(values)
    arguments = values["crops"], values["top"], values["batch_size"]
    done = list(predictions.predict(trained, paths, *arguments))
    if values["json"]:
        print(json.dumps(predictions.prediction_record(trained, done), indent=1))
    else:
        seen = [one for one in done if isinstance(one, predictions.Prediction)]
        console.print(predictions.prediction_table(trained, seen))
    damaged = [one for one in done if isinstance(one, Damaged)]
    end_with_damaged(damaged, len(paths))


if __name__ == "__main__":
    main()
