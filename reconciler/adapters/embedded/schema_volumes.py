"""Which fields the volumes of a pod have. A table of `schema_tables`, in its language; no rules.

The facts are those of the Kubernetes 1.36 API, as there.
"""

from __future__ import annotations

VOLUMES = """
Volume
  awsElasticBlockStore AwsVolume; azureDisk AzureDisk; azureFile AzureFile; cephfs CephVolume; cinder CinderVolume
  configMap ConfigMapVolume; csi CsiVolume; downwardAPI DownwardVolume; emptyDir EmptyDir; ephemeral EphemeralVolume
  fc FcVolume; flexVolume FlexVolume; flocker FlockerVolume; gcePersistentDisk GceVolume; gitRepo GitVolume
  glusterfs GlusterVolume; hostPath HostPath; image ImageVolume; iscsi IscsiVolume; name str; nfs NfsVolume
  persistentVolumeClaim ClaimVolume; photonPersistentDisk PhotonVolume; portworxVolume PortworxVolume
  projected ProjectedVolume; quobyte QuobyteVolume; rbd RbdVolume; scaleIO ScaleVolume; secret SecretVolume
  storageos StorageOsVolume; vsphereVolume VsphereVolume
ConfigMapVolume
  csi CsiVolume
  downwardAPI DownwardVolume; emptyDir EmptyDir; ephemeral any; fc any; flexVolume any; flocker any
  gcePersistentDisk any; gitRepo any; glusterfs any; hostPath HostPath; image ImageVolume; iscsi any; name str
  nfs NfsVolume; persistentVolumeClaim ClaimVolume; photonPersistentDisk any; portworxVolume any
  projected ProjectedVolume; quobyte any; rbd any; scaleIO any; secret SecretVolume; storageos any; vsphereVolume any
ConfigMapVolume
  defaultMode int*; items [KeyToPath]; name str; optional bool*
SecretVolume
  defaultMode int*; items [KeyToPath]; optional bool*; secretName str
KeyToPath
  key str; mode int*; path str
CsiVolume
  driver str; fsType str*; nodePublishSecretRef Reference; readOnly bool*; volumeAttributes {str}
DownwardVolume
  defaultMode int*; items [DownwardFile]
DownwardFile
  fieldRef FieldRef; mode int*; path str; resourceFieldRef ResourceFieldRef
EmptyDir
  medium str; sizeLimit quantity*
HostPath
  path str; type str*
ImageVolume
  pullPolicy str; reference str
NfsVolume
  path str; readOnly bool; server str
ClaimVolume
  claimName str; readOnly bool
ProjectedVolume
  defaultMode int*; sources [ProjectedSource]
ProjectedSource
  clusterTrustBundle any; configMap ConfigMapVolume; downwardAPI DownwardVolume; podCertificate any
  secret ProjectedSecret; serviceAccountToken TokenSource
ProjectedSecret
  items [KeyToPath]; name str; optional bool*
TokenSource
  audience str; expirationSeconds int*; path str
EphemeralVolume
  volumeClaimTemplate ClaimTemplate
ClaimTemplate
  metadata ObjectMeta; spec ClaimSpec
ClaimSpec
  accessModes [str]; dataSource TypedReference; dataSourceRef TypedObjectReference; resources ClaimResources
  selector LabelSelector; storageClassName str*; volumeAttributesClassName str*; volumeMode str*; volumeName str
ClaimResources
  limits {quantity}; requests {quantity}
TypedReference!
  apiGroup str*; kind str; name str
TypedObjectReference
  apiGroup str*; kind str; name str; namespace str*
AwsVolume
  fsType str; partition int; readOnly bool; volumeID str
AzureDisk
  cachingMode str*; diskName str; diskURI str; fsType str*; kind str*; readOnly bool*
AzureFile
  readOnly bool; secretName str; shareName str
CephVolume
  monitors [str]; path str; readOnly bool; secretFile str; secretRef Reference; user str
CinderVolume
  fsType str; readOnly bool; secretRef Reference; volumeID str
FcVolume
  fsType str; lun int*; readOnly bool; targetWWNs [str]; wwids [str]
FlexVolume
  driver str; fsType str; options {str}; readOnly bool; secretRef Reference
FlockerVolume
  datasetName str; datasetUUID str
GceVolume
  fsType str; partition int; pdName str; readOnly bool
GitVolume
  directory str; repository str; revision str
GlusterVolume
  endpoints str; path str; readOnly bool
IscsiVolume
  chapAuthDiscovery bool; chapAuthSession bool; fsType str; initiatorName str*; iqn str; iscsiInterface str; lun int*
  portals [str]; readOnly bool; secretRef Reference; targetPortal str
PhotonVolume
  fsType str; pdID str
PortworxVolume
  fsType str; readOnly bool; volumeID str
QuobyteVolume
  group str; readOnly bool; registry str; tenant str; user str; volume str
RbdVolume
  fsType str; image str; keyring str; monitors [str]; pool str; readOnly bool; secretRef Reference; user str
ScaleVolume
  fsType str; gateway str; protectionDomain str; readOnly bool; secretRef Reference; sslEnabled bool; storageMode str
  storagePool str; system str; volumeName str
StorageOsVolume
  fsType str; readOnly bool; secretRef Reference; volumeName str; volumeNamespace str
VsphereVolume
  fsType str; storagePolicyID str; storagePolicyName str; volumePath str
"""
