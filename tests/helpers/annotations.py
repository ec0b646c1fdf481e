"""Folders as labeling tools and published datasets leave them, without mask images: polygons, boxes, arrays.

Each function draws one; `FORMATS` has the words that the error must name."""
import json
import zipfile

from helpers.layouts import COLORS, ids, paint, photo

TRIANGLE = [[3, 4], [30, 8], [12, 30]]


def put_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def put_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def photos(root, pattern="images/{}.jpg", n=4):
    for i in range(n):
        photo(root/pattern.format(i), i)


def coco(images, **more):
    polygons = [{"id": i, "image_id": i, "category_id": 1, "segmentation": [sum(TRIANGLE, [])], "bbox": [3, 4, 27, 26]}
                for i in range(len(images))]
    return {"images": [{"id": i, "file_name": name} for i, name in enumerate(images)], "annotations": polygons,
            "categories": [{"id": 1, "name": "leaf"}], **more}


def coco_json(root):
    for split, names in {"train": "0123", "valid": "45"}.items():
        photos(root, f"{split}/leaf_{{}}.jpg", len(names))
        put_json(root/f"{split}/_annotations.coco.json", coco([f"leaf_{i}.jpg" for i in range(len(names))]))


def coco_as_published(root):
    photos(root, "train2017/{}.jpg")
    photos(root, "val2017/{}.jpg", 2)
    put_json(root/"annotations/instances_train2017.json", coco("0123", info={}, licenses=[]))
    put_json(root/"annotations/instances_val2017.json", coco("01"))


def coco_of_cvat(root):
    photos(root, "images/default/{}.jpg")
    put_json(root/"annotations/instances_default.json", coco("0123", licenses=[{"name": ""}]))


def coco_large(root):
    "The annotations begin far behind the start of the file."
    photos(root)
    put_json(root/"result.json", coco([f"{i}.jpg" for i in range(6000)]))


def coco_by_hand(root):
    photos(root, "JPEG/{}.JPG")
    put_json(root/"labels.JSON", coco("0123"))


def coco_panoptic(root):
    "The masks are PNGs, but their colors are numbers of objects."
    photos(root, "val2017/00000{}.jpg", 6)
    for i in range(6):
        paint(root/f"annotations/panoptic_val2017/00000{i}.png", COLORS[ids(i, 4)] + i)
    put_json(root/"annotations/panoptic_val2017.json", {"images": [], "annotations": [{"segments_info": []}]})


def labelme(name, **more):
    return {"version": "5.4.1", "flags": {}, "shapes": [{"label": "wire", "points": TRIANGLE, "shape_type": "polygon"}],
            "imagePath": name, "imageData": "QUJD"*40_000, **more}


def labelme_json_beside(root):
    photos(root, "IMG_000{}.jpg")
    for i in range(4):
        put_json(root/f"IMG_000{i}.json", labelme(f"IMG_000{i}.jpg"))


def labelme_in_a_folder(root):
    photos(root)
    for i in range(4):
        put_json(root/f"annotations/{i}.json", labelme(f"..\\images\\{i}.jpg", imageData=None))


def labelme_with_labels(root):
    "images/ and labels/, as for CamVid."
    photos(root)
    for i in range(4):
        put_json(root/f"labels/{i}.json", labelme(f"{i}.jpg"))


def label_studio_json(root):
    photos(root, "images/61148fa{}-frame.jpg")
    points = {"points": TRIANGLE, "closed": True, "polygonlabels": ["net"]}
    put_json(root/"project-1-at-2024-05-01.json",
             [{"id": i, "annotations": [{"id": i, "result": [{"original_width": 56, "value": points}]}],
               "data": {"image": f"/data/upload/1/61148fa{i}-frame.jpg"}} for i in range(4)])


def label_studio_json_min(root):
    photos(root, "images/61148fa{}-frame.jpg")
    put_json(root/"result_min.json", [{"image": "/data/upload/1/a.jpg", "id": i, "annotator": 1, "annotation_id": i,
                                       "tag": [{"format": "rle", "rle": [0, 1], "brushlabels": ["net"]}]}
                                      for i in range(4)])


def labelstudio_brush(root):
    photos(root, "images/61148fa{}-problem_frame.jpg")
    for i in range(4):
        for name in "tree", "net":
            paint(root/f"masks/task-{i+1}-annotation-{i+3}-by-1-tag-{name}-0.png", ids(i, 2)*255)


def label_studio_brush_with_tasks(root):
    "The images have the numbers of the tasks, and one mask each."
    photos(root, "images/{}.jpg")
    for i in range(4):
        paint(root/f"masks/task-{i}-annotation-{i+3}-by-me@home.org-tag-Tree-0.png", ids(i, 2)*255)


def yolo_lines(kind):
    return {"polygons": "0 0.1 0.2 0.9 0.25 0.5 0.75\n2 0 0 1 0 1 1 0 1\n", "boxes": "1 0.5 0.5 0.2 0.1\n"}[kind]


def yolo_polygons(root, kind="polygons"):
    for split, n in ("train", 4), ("val", 2):
        photos(root, f"images/{split}/a{{}}.jpg", n)
        for i in range(n):
            put_text(root/f"labels/{split}/a{i}.txt", yolo_lines(kind) if i else "")
    put_text(root/"data.yaml", "path: .\ntrain: images/train\nval: images/val\nnames: {0: leaf, 1: stem, 2: pot}\n")


def yolo_of_roboflow(root):
    for split, n in ("train", 4), ("valid", 2):
        photos(root, f"{split}/images/frame_{{}}_jpg.rf.6a9c.jpg", n)
        for i in range(n):
            put_text(root/f"{split}/labels/frame_{i}_jpg.rf.6a9c.txt", yolo_lines("polygons").replace("\n", "\r\n"))
    put_text(root/"README.roboflow.txt", "exported\n")
    put_text(root/"data.yaml", "train: ../train/images\nnc: 3\n")


def yolo_boxes(root): yolo_polygons(root, "boxes")


def yolo_beside(root):
    photos(root, "{}.jpg")
    for i in range(4):
        put_text(root/f"{i}.txt", yolo_lines("polygons"))
    put_text(root/"classes.txt", "leaf\nstem\npot\n")


def supervisely(root):
    photos(root, "ds0/img/{}.jpg")
    for i in range(4):
        put_json(root/f"ds0/ann/{i}.jpg.json", {
            "description": "", "tags": [], "size": {"height": 40, "width": 56},
            "objects": [{"classTitle": "leaf", "geometryType": "polygon", "points": {"exterior": TRIANGLE}}]})
    put_json(root/"meta.json", {"classes": [{"title": "leaf", "shape": "polygon", "color": "#FF0000"}], "tags": []})


def cvat_xml(root):
    photos(root)
    shapes = "".join(f'<image id="{i}" name="{i}.jpg"><polygon label="wire" points="3,4;30,8;12,30"/></image>'
                     for i in range(4))
    put_text(root/"annotations.xml", f'<?xml version="1.0"?>\n<annotations>\n<version>1.1</version>{shapes}\n'
             "</annotations>")


def via_json(root):
    photos(root, "{}.jpg")
    shape = {"name": "polygon", "all_points_x": [3, 30, 12], "all_points_y": [4, 8, 30]}
    regions = {f"{i}.jpg99": {"filename": f"{i}.jpg", "size": 99, "file_attributes": {},
                              "regions": [{"shape_attributes": shape, "region_attributes": {}}]} for i in range(4)}
    put_json(root/"via_region_data.json", regions)


def via_csv(root):
    photos(root)
    put_text(root/"via_export_csv.csv", "filename,file_size,file_attributes,region_count,region_id,"
                                        "region_shape_attributes,region_attributes\n0.jpg,99,{},1,0,{},{}\n")


def voc_boxes(root):
    photos(root, "JPEGImages/{}.jpg")
    for i in range(4):
        put_text(root/f"Annotations/{i}.xml", f"<annotation><filename>{i}.jpg</filename><object><name>cat</name>"
                 "<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>")


def geojson(root):
    photos(root, "tiles/{}.tif")
    for i in range(4):
        put_json(root/f"buildings/{i}.geojson", {"type": "FeatureCollection", "features": []})


def shapefile(root):
    photos(root, "tiles/{}.tif")
    for ending in "shp", "shx", "dbf", "prj":
        put_text(root/f"vector/roads.{ending}", "x")


def parquet(root):
    for name in "train-00000-of-00002", "train-00001-of-00002":
        put_text(root/f"data/{name}.parquet", "PAR1")
    put_text(root/"README.md", "---\ndataset_info:\n---\n")


def arrays(root, ending="npy"):
    photos(root)
    for i in range(4):
        put_text(root/f"masks/{i}.{ending}", "x")


def npz(root): arrays(root, "npz")
def matlab(root): arrays(root, "mat")
def hdf5(root): arrays(root, "h5")
def volumes(root): arrays(root, "nii.gz")
def dicom(root): arrays(root, "dcm")


def rle_csv(root):
    photos(root, "train_images/{}.jpg")
    put_text(root/"train.csv", "ImageId,ClassId,EncodedPixels\n0.jpg,1,3 10 50 4\n")


def rle_masks_csv(root):
    photos(root, "train/{}.jpg")
    put_text(root/"train_masks.csv", "img,rle_mask\n0.jpg,3 10\n")


def cityscapes_polygons(root):
    for i in range(4):
        photo(root/f"leftImg8bit/train/ulm/ulm_00000{i}_leftImg8bit.png", i)
        put_json(root/f"gtFine/train/ulm/ulm_00000{i}_gtFine_polygons.json",
                 {"imgHeight": 40, "imgWidth": 56, "objects": [{"label": "road", "polygon": TRIANGLE}]})


def segment_anything(root):
    photos(root, "sa_{}.jpg")
    for i in range(4):
        put_json(root/f"sa_{i}.json", {"image": {"image_id": i}, "annotations": [
            {"segmentation": {"size": [40, 56], "counts": "abc"}, "predicted_iou": 0.9, "stability_score": 0.9}]})


def darwin(root):
    photos(root)
    for i in range(4):
        put_json(root/f"annotations/{i}.json", {"version": "2.0", "item": {"name": f"{i}.jpg", "slots": []},
                                                "annotations": [{"name": "leaf", "polygon": {"paths": []}}]})


def labelbox(root):
    photos(root)
    put_text(root/"export.ndjson", '{"data_row": {"id": "c1"}, "projects": {"p": {"labels": []}}}\n'*4)


def stanford(root):
    "The Stanford background dataset: a number for each pixel."
    photos(root)
    for i in range(4):
        rows = ids(i, 8).astype(int) - 1
        put_text(root/f"labels/{i}.regions.txt", "\n".join(" ".join(map(str, row)) for row in rows))


def kitti_boxes(root):
    photos(root, "image_2/00000{}.png")
    for i in range(4):
        put_text(root/f"label_2/00000{i}.txt", "Car 0.00 0 1.55 614.24 181.7 727.3 284.7 1 1 4 1 1 13 1\n")


def sbd(root):
    photos(root, "dataset/img/2008_{}.jpg")
    for folder in "cls", "inst":
        for i in range(4):
            put_text(root/f"dataset/{folder}/2008_{i}.mat", "MATLAB 5.0")


def decathlon(root):
    for i in range(4):
        put_text(root/f"imagesTr/la_{i}.nii.gz", "x")
        put_text(root/f"labelsTr/la_{i}.nii.gz", "x")
    put_json(root/"dataset.json", {"labels": {"0": "background"}, "training": [{"image": "a", "label": "b"}]})


def records(root):
    for i in range(2):
        put_text(root/f"oxford_iiit_pet-train.tfrecord-0000{i}-of-00002", "x")


def segments_ai(root):
    photos(root)
    put_json(root/"release.json", {"name": "v1", "dataset": {"samples": [{"name": "a", "labels": {
        "ground-truth": {"attributes": {"segmentation_bitmap": {"url": "https://example.org/a.png"}}}}}]}})


def superannotate(root):
    photos(root, "{}.jpg")
    for i in range(4):
        put_json(root/f"{i}.jpg___objects.json", {"metadata": {"name": f"{i}.jpg"}, "instances": [
            {"type": "polygon", "classId": 1, "points": [3, 4, 30, 8, 12, 30]}]})


def video(root):
    for name in "drive_1", "drive_2":
        put_text(root/f"{name}.MP4", "x")


# name -> what draws it, a file that the text must name, and words about the format and the way to masks
FORMATS = {
    "coco_json": (coco_json, "train/_annotations.coco.json", ["COCO", "polygons", "pycocotools"]),
    "coco_as_published": (coco_as_published, "annotations/instances_train2017.json", ["COCO", "pycocotools"]),
    "coco_of_cvat": (coco_of_cvat, "annotations/instances_default.json", ["COCO", "Segmentation mask 1.1"]),
    "coco_large": (coco_large, "result.json", ["COCO", "annToMask"]),
    "coco_by_hand": (coco_by_hand, "labels.JSON", ["COCO", "annToMask"]),
    "coco_panoptic": (coco_panoptic, "annotations/panoptic_val2017/000000.png", ["COCO panoptic", "panopticapi"]),
    "labelme_json_beside": (labelme_json_beside, "IMG_0000.json", ["labelme", "3 more .json files", "labelme2voc"]),
    "labelme_in_a_folder": (labelme_in_a_folder, "annotations/0.json", ["labelme", "polygons"]),
    "labelme_with_labels": (labelme_with_labels, "labels/0.json", ["labelme", "polygons"]),
    "label_studio_json": (label_studio_json, "project-1-at-2024-05-01.json", ["Label Studio", "COCO"]),
    "label_studio_json_min": (label_studio_json_min, "result_min.json", ["Label Studio", "brush"]),
    "labelstudio_brush": (labelstudio_brush, "masks/task-1-annotation-3-by-1-tag-net-0.png",
                          ["Label Studio", "task", "JSON"]),
    "label_studio_brush_with_tasks": (label_studio_brush_with_tasks,
                                      "masks/task-0-annotation-3-by-me@home.org-tag-Tree-0.png", ["Label Studio"]),
    "yolo_polygons": (yolo_polygons, "labels/train/a1.txt", ["YOLO", "polygons", "5 more .txt files"]),
    "yolo_of_roboflow": (yolo_of_roboflow, "train/labels/frame_0_jpg.rf.6a9c.txt", ["YOLO", "polygons"]),
    "yolo_boxes": (yolo_boxes, "labels/train/a1.txt", ["YOLO", "boxes"]),
    "yolo_beside": (yolo_beside, "0.txt", ["YOLO", "polygons"]),
    "supervisely": (supervisely, "ds0/ann/0.jpg.json", ["Supervisely", "Export as masks"]),
    "cvat_xml": (cvat_xml, "annotations.xml", ["CVAT", "Segmentation mask 1.1"]),
    "via_json": (via_json, "via_region_data.json", ["VIA", "polygons"]),
    "via_csv": (via_csv, "via_export_csv.csv", ["VIA", "polygons"]),
    "voc_boxes": (voc_boxes, "Annotations/0.xml", ["VOC", "boxes", "SegmentationClass"]),
    "geojson": (geojson, "buildings/0.geojson", ["GeoJSON", "rasterio"]),
    "shapefile": (shapefile, "vector/roads.shp", ["rasterio"]),
    "parquet": (parquet, "data/train-00000-of-00002.parquet", ["Hugging Face", "datasets"]),
    "npy": (arrays, "masks/0.npy", ["NumPy", "PNG"]),
    "npz": (npz, "masks/0.npz", ["NumPy", "PNG"]),
    "matlab": (matlab, "masks/0.mat", ["MATLAB", "scipy"]),
    "hdf5": (hdf5, "masks/0.h5", ["HDF5", "h5py"]),
    "volumes": (volumes, "masks/0.nii.gz", ["NIfTI", "slice"]),
    "dicom": (dicom, "masks/0.dcm", ["DICOM", "pydicom"]),
    "rle_csv": (rle_csv, "train.csv", ["RLE", "columns"]),
    "rle_masks_csv": (rle_masks_csv, "train_masks.csv", ["RLE"]),
    "cityscapes_polygons": (cityscapes_polygons, "gtFine/train/ulm/ulm_000000_gtFine_polygons.json",
                            ["Cityscapes", "csCreateTrainIdLabelImgs"]),
    "segment_anything": (segment_anything, "sa_0.json", ["SA-1B", "pycocotools"]),
    "darwin": (darwin, "annotations/0.json", ["V7"]),
    "labelbox": (labelbox, "export.ndjson", ["Labelbox"]),
    "stanford": (stanford, "labels/0.regions.txt", ["each pixel", "loadtxt"]),
    "kitti_boxes": (kitti_boxes, "label_2/000000.txt", ["KITTI", "boxes"]),
    "sbd": (sbd, "dataset/cls/2008_0.mat", ["MATLAB", "scipy"]),
    "decathlon": (decathlon, "imagesTr/la_0.nii.gz", ["NIfTI"]),
    "records": (records, "oxford_iiit_pet-train.tfrecord-00000-of-00002", ["records", "PNG"]),
    "segments_ai": (segments_ai, "release.json", ["Segments.ai"]),
    "superannotate": (superannotate, "0.jpg___objects.json", ["SuperAnnotate"]),
    "video": (video, "drive_1.MP4", ["ffmpeg"]),
}


def zip_inside(root):
    photos(root)
    with zipfile.ZipFile(root/"masks.zip", "w") as archive:
        archive.writestr("0.png", "x")


