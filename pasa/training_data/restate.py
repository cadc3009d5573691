"""Says a subject in other words: what people ask is seldom worded as the papers are. Pure."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from functools import cache, lru_cache

from pasa.models.abbreviations import common_abbreviations

RESTATED_SHARE = 0.5  # of the subjects that could be said in other words
ABBREVIATED_SHARE = 0.4  # of the questions that could say "RL" for "reinforcement learning"
_LONG_FORM_WORDS = 6

# Terms of the field -> what somebody may say who does not think of the term.
_OTHER_WORDS: dict[str, tuple[str, ...]] = {
    "active learning": ("choosing which samples to label",),
    "adversarial attack": ("inputs perturbed to fool a model",),
    "adversarial robustness": ("robustness to perturbed inputs", "defending models against adversarial examples"),
    "adversarial training": ("training on perturbed inputs",),
    "anomaly detection": ("finding abnormal samples", "spotting anomalies", "outlier detection"),
    "autonomous driving": ("self-driving cars", "self-driving vehicles"),
    "backdoor attack": ("hidden triggers planted in models", "trojaned models"),
    "catastrophic forgetting": ("forgetting of earlier tasks",),
    "causal discovery": ("learning causal structure from data",),
    "chain-of-thought": ("step-by-step reasoning",),
    "class imbalance": ("skewed class distributions", "long-tailed classes"),
    "code generation": ("writing programs automatically", "program synthesis"),
    "continual learning": ("lifelong learning", "learning tasks one after the other"),
    "contrastive learning": ("learning by telling similar samples from different ones",),
    "data augmentation": ("augmenting training data",),
    "depth estimation": ("estimating depth",),
    "differential privacy": ("learning with formal privacy guarantees",),
    "diffusion model": ("generative models that denoise step by step", "score-based generative models"),
    "domain adaptation": ("adapting a model to a new domain",),
    "domain generalization": ("generalizing to domains never seen in training",),
    "federated learning": ("training across clients without sharing their data",),
    "few-shot learning": ("learning from a handful of examples",),
    "gaussian splatting": ("scenes represented by 3D Gaussians",),
    "gradient descent": ("first-order optimization",),
    "graph neural network": ("message passing networks", "deep learning on graphs"),
    "human feedback": ("people's preferences",),
    "human preference": ("what people prefer",),
    "hyperparameter optimization": ("tuning hyperparameters automatically",),
    "image captioning": ("describing images in words",),
    "image classification": ("recognizing what an image shows",),
    "image editing": ("editing images", "changing images by instruction"),
    "image generation": ("generating images", "image synthesis", "producing pictures"),
    "image restoration": ("restoring degraded images",),
    "image synthesis": ("generating images",),
    "imitation learning": ("learning from demonstrations", "learning from an expert's behaviour"),
    "in-context learning": ("learning from examples in the prompt",),
    "instruction tuning": ("training models to follow instructions",),
    "inverse reinforcement learning": ("inferring rewards from behaviour",),
    "knowledge distillation": ("training small models from larger teachers", "teacher-student training"),
    "knowledge graph": ("graphs of facts",),
    "low-rank adaptation": ("fine-tuning with low-rank updates",),
    "machine translation": ("translating between languages",),
    "machine unlearning": ("making models forget training data",),
    "mathematical reasoning": ("solving mathematical problems", "math word problems"),
    "mechanistic interpretability": ("finding out how networks compute inside",),
    "membership inference": ("telling whether a sample was in the training data",),
    "meta-learning": ("learning to learn",),
    "mixture of experts": ("sparsely activated experts",),
    "model compression": ("making networks smaller",),
    "molecule generation": ("generating molecules",),
    "motion planning": ("planning movements",),
    "multi-agent reinforcement learning": ("several agents that learn together",),
    "multi-task learning": ("training one model for many tasks",),
    "neural architecture search": ("searching for network architectures",),
    "neural radiance field": ("scenes represented by a network that is rendered from any view",),
    "noisy label": ("wrong labels in the training data", "label noise"),
    "novel view synthesis": ("rendering scenes from new viewpoints", "synthesizing new views"),
    "object detection": ("detecting objects", "finding objects in images"),
    "offline reinforcement learning": ("learning policies from logged data",),
    "optical flow": ("motion between frames",),
    "optimal transport": ("transporting one distribution to another",),
    "out-of-distribution detection": ("detecting inputs unlike the training data",),
    "out-of-distribution generalization": ("generalizing beyond the training distribution",),
    "parameter-efficient fine-tuning": ("adapting large models with few trained parameters",),
    "point cloud": ("sets of 3D points",),
    "policy gradient": ("direct policy optimization",),
    "pose estimation": ("estimating poses",),
    "prompt tuning": ("learning prompts instead of weights",),
    "protein structure prediction": ("predicting how proteins fold",),
    "question answering": ("answering questions",),
    "recommendation system": ("recommending items to users",),
    "recommender system": ("recommending items to users",),
    "representation learning": ("learning features", "learning useful representations"),
    "retrieval-augmented generation": ("letting language models look things up",),
    "reward model": ("learned rewards",),
    "robotic manipulation": ("robots that handle objects",),
    "self-supervised learning": ("learning without labels", "learning representations from unlabelled data"),
    "semantic segmentation": ("labelling every pixel", "segmenting scenes into classes"),
    "semi-supervised learning": ("learning from few labels and much unlabelled data",),
    "sentiment analysis": ("telling opinions from text",),
    "speculative decoding": ("drafting tokens to speed up decoding",),
    "speech recognition": ("turning speech into text",),
    "style transfer": ("changing the style of an image",),
    "super-resolution": ("upscaling images", "raising image resolution"),
    "text-to-image generation": ("generating images from text", "images from prompts"),
    "text-to-image synthesis": ("generating images from text",),
    "text-to-video generation": ("generating videos from text",),
    "theorem proving": ("proving theorems automatically",),
    "time series forecasting": ("forecasting time series", "predicting how a series goes on"),
    "transfer learning": ("reusing trained models for other tasks",),
    "uncertainty quantification": ("knowing how sure a model is", "calibrated uncertainty"),
    "video generation": ("generating videos", "video synthesis"),
    "video understanding": ("understanding videos",),
    "vision-language model": ("models of images and text", "VLMs"),
    "visual question answering": ("answering questions about images",),
    "world model": ("learned simulators of an environment",),
    "zero-shot learning": ("recognizing classes without examples",),
}
# "object tracking" is "tracking objects": the noun of an activity -> its verb.
_ACTIVITIES = {
    "alignment": "aligning",
    "classification": "classifying",
    "compression": "compressing",
    "denoising": "denoising",
    "detection": "detecting",
    "editing": "editing",
    "estimation": "estimating",
    "forecasting": "forecasting",
    "generation": "generating",
    "localization": "locating",
    "prediction": "predicting",
    "pruning": "pruning",
    "ranking": "ranking",
    "recognition": "recognizing",
    "reconstruction": "reconstructing",
    "registration": "registering",
    "retrieval": "retrieving",
    "segmentation": "segmenting",
    "selection": "choosing",
    "summarization": "summarizing",
    "synthesis": "synthesizing",
    "tracking": "tracking",
}
_ACTIVITY = re.compile(
    rf"^((?:[\w-]+ ){{0,2}}[\w-]*[a-z]) ({'|'.join(_ACTIVITIES)})\b(?! [a-z-]+(?:s|ing|ion)\b)", re.I
)
# Before an activity these qualify it, they are not what it is done to: "hierarchical segmentation".
_QUALIFIES = re.compile(
    r"^\d|(al|ed|ive|ing|ic|ous|ble|ary|ient|ant|able|ised|ized|free|shot|aware|based|ure|less|wise|level|end|fast|joint|"
    r"deep|dense|sparse|online|offline|open|weak|robust|neural|novel|wild|modal|world|to-\w+|agnostic|set|source)$",
    re.I,
)
_JOINTS = "for|in|with|of|on|via|using|and|or|under|by|from|to|as|without|through|at|that|beyond|across|against"
_UNCOUNTED = frozenset(
    {
        *("speech", "text", "motion", "code", "data", "music", "language", "audio", "traffic", "weather", "research"),
        *("depth", "content", "information", "knowledge", "behavior", "behaviour", "evidence", "noise", "hardware"),
        *("software", "vision"),
    }
)


def restated(subject: str, rng: random.Random, share: float = RESTATED_SHARE) -> str:
    """The subject, in a `share` of the cases where that is possible in other words."""
    if rng.random() >= share:
        return subject
    term = _known_term(subject)
    if term is not None:
        other = rng.choice(_OTHER_WORDS[term])
        return _pattern(term).sub(lambda found: found[1] + other, subject, count=1)
    return as_activity(subject)


def as_activity(subject: str) -> str:
    """ "point cloud registration" as "registering point clouds"; the subject as it is where it names no activity."""
    found = _ACTIVITY.match(subject)
    if not found or any(_QUALIFIES.search(word) for word in found[1].split()):
        return subject
    return f"{_ACTIVITIES[found[2].lower()]} {_plural(found[1])}{subject[found.end() :]}"


def _plural(noun: str) -> str:
    last = noun.split()[-1].lower()
    if last in _UNCOUNTED or last.endswith(("s", "x", "ch", "sh")) or noun.split()[-1].isupper():
        return noun
    return f"{noun[:-1]}ies" if last.endswith("y") and last[-2:-1] not in "aeiou" else f"{noun}s"


def _known_term(subject: str) -> str | None:
    """The longest term in the subject that can be said in other words."""
    lower = subject.lower()
    found = [term for start, term in _starts() if start in lower and _pattern(term).search(subject)]
    return max(found, key=len, default=None)


@cache
def _starts() -> tuple[tuple[str, str], ...]:
    """(letters that a text with the term holds, the term): what may be there is soon told."""
    return tuple((term.split()[0][:4].lower(), term) for term in _OTHER_WORDS)


@cache
def _pattern(term: str) -> re.Pattern[str]:
    """The term where nothing qualifies it and it qualifies nothing: "models of anomaly detection in video"."""
    words = "[ -]".join(map(re.escape, re.split("[ -]", term)))
    return re.compile(rf"(^|\b(?:{_JOINTS}) ){words}s?(?=$|,| (?:{_JOINTS})\b)", re.I)


def in_terms_of_art(question: str) -> str | None:
    """The question with what somebody said in other words named by its term; None where no such words are known."""
    lower = question.lower()
    found = [(other, term) for other, term in _terms() if other in lower]
    if not found:
        return None
    other, term = max(found, key=lambda pair: (len(pair[0]), pair))
    return re.sub(re.escape(other), term, lower, count=1)


@lru_cache(maxsize=1)
def _terms() -> tuple[tuple[str, str], ...]:
    """(other words, lower case, the term that they stand for)."""
    return tuple((other.lower(), term) for term, others in _OTHER_WORDS.items() for other in others)


def abbreviated(text: str, rng: random.Random) -> str:
    """The text, at times with one of its long forms abbreviated: people ask for "RL", papers spell it out."""
    words = text.lower().split()
    runs = (words[at : at + size] for at in range(len(words)) for size in range(2, _LONG_FORM_WORDS + 1))
    known = {long for run in runs for long in (" ".join(run), " ".join(run).removesuffix("s")) if long in _long_forms()}
    if not known or rng.random() > ABBREVIATED_SHARE:
        return text
    long = max(known, key=lambda form: (len(form), form))
    return re.sub(rf"\b{re.escape(long)}(s?)\b", lambda m: _long_forms()[long] + m[1], text, count=1, flags=re.I)


@lru_cache(maxsize=1)
def _long_forms() -> dict[str, str]:
    """Long form -> its abbreviation, where there is but one."""
    shorts: dict[str, list[str]] = defaultdict(list)
    for short, long in common_abbreviations().items():
        shorts[long].append(short)
    return {long: short[0] for long, short in shorts.items() if len(short) == 1 and " " in long}
