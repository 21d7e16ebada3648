#!/bin/sh
# Hands the images in /kind/images to containerd, and gives them the names that kubeadm looks for: several names mean
# one image, as all of Kubernetes is one program here.
set -eu

ctr="ctr --namespace=k8s.io images"
$ctr import /kind/images/kubernetes.tar
while read -r name source; do
    $ctr tag --force "$source" "$name"
done < /kind/images/names
