// A bare loop: it applies the objects of a file with server-side apply, and does nothing else. What a tool takes on
// top of this is what its own work costs.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
)

const manager = "bare-loop"

var resources = map[string]schema.GroupVersionResource{
	"ServiceAccount":          {Version: "v1", Resource: "serviceaccounts"},
	"ConfigMap":               {Version: "v1", Resource: "configmaps"},
	"Service":                 {Version: "v1", Resource: "services"},
	"Deployment":              {Group: "apps", Version: "v1", Resource: "deployments"},
	"PodDisruptionBudget":     {Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
	"HorizontalPodAutoscaler": {Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"},
}

type report struct {
	Objects  int     `json:"objects"`
	AppliedS float64 `json:"applied_s"`
	ReadyS   float64 `json:"ready_s"`
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how the server is reached")
	file := flag.String("f", "", "YAML documents")
	concurrency := flag.Int("concurrency", 10, "how many objects at once")
	apply := flag.Bool("apply", true, "apply the objects; without it, only -wait")
	wait := flag.Bool("wait", false, "wait until every Deployment of the file is available, too")
	flag.Parse()
	if !*apply {
		*concurrency = 0
	}
	if err := run(*kubeconfig, *file, *concurrency, *wait); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(kubeconfig, file string, concurrency int, wait bool) error {
	objects, err := read(file)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1 // no limit on our side
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	result := report{Objects: len(objects)}
	started := time.Now()
	ready := make(chan error, 1)
	if wait {
		go func() { ready <- available(client, objects) }()
	}
	if err := applyAll(client, objects, concurrency); err != nil {
		return err
	}
	result.AppliedS = time.Since(started).Seconds()
	if wait {
		if err := <-ready; err != nil {
			return err
		}
		result.ReadyS = time.Since(started).Seconds()
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func read(file string) ([]*unstructured.Unstructured, error) {
	opened, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	decoder := yaml.NewYAMLOrJSONDecoder(bufio.NewReader(opened), 4096)
	var objects []*unstructured.Unstructured
	for {
		one := &unstructured.Unstructured{}
		if err := decoder.Decode(&one.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		if len(one.Object) > 0 {
			objects = append(objects, one)
		}
	}
}

func applyAll(client dynamic.Interface, objects []*unstructured.Unstructured, concurrency int) error {
	var next atomic.Int64
	var workers sync.WaitGroup
	failures := make(chan error, concurrency)
	for range concurrency {
		workers.Go(func() {
			for {
				index := int(next.Add(1)) - 1
				if index >= len(objects) {
					return
				}
				if err := applyOne(client, objects[index]); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	workers.Wait()
	close(failures)
	return <-failures
}

func applyOne(client dynamic.Interface, one *unstructured.Unstructured) error {
	resource, known := resources[one.GetKind()]
	if !known {
		return fmt.Errorf("the loop knows no kind %s", one.GetKind())
	}
	options := metav1.ApplyOptions{FieldManager: manager, Force: true}
	_, err := client.Resource(resource).Namespace(one.GetNamespace()).Apply(context.Background(), one.GetName(), one, options)
	return err
}

// available watches Deployments until all of the file's are.
func available(client dynamic.Interface, objects []*unstructured.Unstructured) error {
	waiting := map[string]bool{}
	for _, one := range objects {
		if one.GetKind() == "Deployment" {
			waiting[one.GetNamespace()+"/"+one.GetName()] = true
		}
	}
	for len(waiting) > 0 {
		if err := follow(client, waiting); err != nil {
			return err
		}
	}
	return nil
}

func follow(client dynamic.Interface, waiting map[string]bool) error {
	resource := client.Resource(resources["Deployment"])
	listed, err := resource.List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return err
	}
	for index := range listed.Items {
		settle(&listed.Items[index], waiting)
	}
	if len(waiting) == 0 {
		return nil
	}
	events, err := resource.Watch(context.Background(), metav1.ListOptions{ResourceVersion: listed.GetResourceVersion()})
	if err != nil {
		return err
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		one, is := event.Object.(*unstructured.Unstructured)
		if !is {
			return nil // the watch is over: list again
		}
		settle(one, waiting)
		if len(waiting) == 0 {
			return nil
		}
	}
	return nil
}

func settle(one *unstructured.Unstructured, waiting map[string]bool) {
	wanted, _, _ := unstructured.NestedInt64(one.Object, "spec", "replicas")
	observed, _, _ := unstructured.NestedInt64(one.Object, "status", "observedGeneration")
	updated, _, _ := unstructured.NestedInt64(one.Object, "status", "updatedReplicas")
	ready, _, _ := unstructured.NestedInt64(one.Object, "status", "availableReplicas")
	total, _, _ := unstructured.NestedInt64(one.Object, "status", "replicas")
	key := strings.Join([]string{one.GetNamespace(), one.GetName()}, "/")
	if observed >= one.GetGeneration() && updated == wanted && ready == wanted && total == wanted {
		delete(waiting, key)
	}
}
