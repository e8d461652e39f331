"""A torchvision model on image folders: python examples/torchvision_folder.py WEIGHTS.pth TRAIN_FOLDER TEST_FOLDER"""

import sys

import torch
from torchvision import datasets, models, transforms

import thresher

weights, *folders = sys.argv[1:]
to_input = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
train, test = (datasets.ImageFolder(folder, to_input) for folder in folders)
model = models.resnet18(num_classes=len(train.classes))
model.load_state_dict(torch.load(weights, weights_only=True))
result = thresher.attribute(model, train, test)
print(result, result.top(test=0, k=3), train.samples[result.top(test=0)["index"][0]], sep="\n")
