#!/bin/sh
# Deploys one application of the guide (api, web): `deploy.sh api v2.0.0`. Built here where BUILD is
# set, else by your pipeline; safe to run twice, as a hook has to be.
set -eu
name=${1:?name of the application: api or web} version=${2:?tag of its image}
image="${REGISTRY:+$REGISTRY/}mono-$name:$version"
if [ -n "${BUILD:-}" ]; then
    docker build --tag "$image" --file "$BUILD/apps/$name/Dockerfile" "$BUILD"
    # A cluster pulls from a registry; one on this machine may see the image as it is.
    if [ -n "${REGISTRY:-}" ]; then
        docker push "$image"
    fi
fi
kubectl set image "deployment/$name" "$name=$image"
# Ready pods of the version before would satisfy `kubectl wait`; this waits for the new ones.
kubectl rollout status "deployment/$name" --timeout="${TIMEOUT:-300s}"
