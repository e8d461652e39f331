"""What is trained: a ladder of small models, one training loop, per-example evaluation, and what it all costs."""

from thresher.proxies.evaluation import evaluate as evaluate
from thresher.proxies.evaluation import evaluate_choices as evaluate_choices
from thresher.proxies.models.ladder import language_config as language_config
from thresher.proxies.models.ladder import parse_size as parse_size
from thresher.proxies.models.spec import build_model as build_model
from thresher.proxies.models.spec import model_spec as model_spec
from thresher.proxies.models.spec import num_parameters as num_parameters
from thresher.proxies.models.weights import open_model as open_model
from thresher.proxies.models.weights import read_spec as read_spec
from thresher.proxies.training.config import TrainConfig as TrainConfig
from thresher.proxies.training.trainer import train as train
